"""Answers of a mediocre network to patients that differ in number, difficulty and prevalence."""

import numpy as np
import pytest

from lamella.evaluation.answers import Answers


def draw_answers(classes: int, *, seed: int, patients: int = 7, digits: int = 3) -> Answers:
    """Return answers whose probabilities are rounded, so that many are equal."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(5, 40, patients)
    numbers = np.repeat(np.arange(patients), counts)
    labels = generator.integers(0, classes, len(numbers))
    labels[numbers == 0] = 0
    scores = generator.normal(0, 1, (len(numbers), classes))
    scores += 1.1 * (labels[:, None] == np.arange(classes))
    scores += generator.normal(0, 0.7, patients)[numbers, None] * np.arange(classes)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    probabilities = np.round(probabilities, digits)
    probabilities[:, 0] = 1 - probabilities[:, 1:].sum(axis=1)
    order = generator.permutation(len(numbers))
    return Answers(labels[order], probabilities[order], numbers[order])


@pytest.fixture(params=[2, 3], ids=["two classes", "three classes"])
def answers(request) -> Answers:
    return draw_answers(request.param, seed=request.param)

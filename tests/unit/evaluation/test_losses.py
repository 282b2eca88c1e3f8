"""Losses are those that torch gives, of what is known."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.losses import sample_losses

GENERATOR = np.random.default_rng(3)
LOGITS = GENERATOR.normal(0, 2, (40, 3))


def masked(truth: np.ndarray) -> np.ndarray:
    """Return the truth with a third of its cells unknown, but never all of a row."""
    unknown = GENERATOR.random(truth.shape) < 0.4
    unknown[np.arange(len(truth)), np.arange(len(truth)) % truth.shape[1]] = False
    return np.where(unknown, np.nan, truth)


def test_of_classes_it_is_the_cross_entropy():
    labels = GENERATOR.integers(0, 3, 40)
    probabilities = torch.softmax(torch.from_numpy(LOGITS), dim=1).numpy()
    expected = functional.cross_entropy(
        torch.from_numpy(LOGITS), torch.from_numpy(labels), reduction="none"
    )
    targets = Targets(TargetKind.CLASSES, ("a", "b", "c"), labels)
    assert sample_losses(targets, probabilities) == pytest.approx(expected.numpy(), abs=1e-9)


def test_of_labels_it_is_the_binary_cross_entropy_of_those_known_over_the_number_of_all():
    truth = masked(GENERATOR.integers(0, 2, (40, 3)).astype(np.float64))
    each = functional.binary_cross_entropy_with_logits(
        torch.from_numpy(LOGITS),
        torch.from_numpy(np.nan_to_num(truth)),
        weight=torch.from_numpy(1.0 - np.isnan(truth)),
        reduction="none",
    )
    targets = Targets(TargetKind.MULTI_LABEL, ("a", "b", "c"), truth)
    found = sample_losses(targets, 1 / (1 + np.exp(-LOGITS)))
    assert found == pytest.approx(each.mean(dim=1).numpy(), abs=1e-9)


def test_of_numbers_it_is_the_squared_error_of_those_known_in_standard_deviations():
    truth = masked(GENERATOR.normal(100, 5, (40, 3)))
    scale = Scale(np.array([90.0, 100.0, 110.0]), np.array([1.0, 5.0, 0.5]))
    standardised = (np.stack([truth, 100 + LOGITS]) - scale.means) / scale.deviations
    expected = np.nanmean(
        [np.where(np.isnan(truth), 0.0, (standardised[1] - standardised[0]) ** 2)], 0
    )
    targets = Targets(TargetKind.REGRESSION, ("a", "b", "c"), truth, scale)
    found = sample_losses(targets, (100 + LOGITS).astype(np.float32))
    assert found == pytest.approx(expected.mean(axis=1), rel=1e-5)


def test_small_examples_by_hand():
    truth = np.array([[1.0, np.nan], [0.0, 1.0]])
    labels = Targets(TargetKind.MULTI_LABEL, ("a", "b"), truth)
    found = sample_losses(labels, np.array([[0.5, 0.1], [0.2, 0.0]], dtype=np.float32))
    # A label that is surely wrong costs -log 1e-7.
    assert found == pytest.approx([np.log(2) / 2, (-np.log(0.8) - np.log(1e-7)) / 2], rel=1e-6)
    numbers = Targets(
        TargetKind.REGRESSION, ("a", "b"), truth, Scale(np.zeros(2), np.array([2, 4]))
    )
    assert sample_losses(numbers, np.array([[5.0, 9.0], [2.0, 9.0]])).tolist() == [2.0, 2.5]

"""The paired test agrees with one that swaps the answers and asks scikit-learn."""

import functools

import numpy as np
import pytest
import sklearn.metrics as sk

from lamella.evaluation.answers import Answers
from lamella.evaluation.bootstrap import SEED
from lamella.evaluation.permutation import PERMUTATIONS, paired_permutation

PATIENTS = 6


def pair(seed: int, *, noise: float):
    """Return two runs' answers to the same samples; the second is worse by ``noise``."""
    generator = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(PATIENTS), [9, 4, 12, 7, 5, 3])
    labels = np.random.default_rng(9).integers(0, 2, len(numbers))
    logits = 1.5 * labels + generator.normal(0, 1, len(numbers))
    worse = logits + noise * generator.normal(0, 1, len(numbers))

    def answers(values):
        tumor = np.round(1 / (1 + np.exp(0.7 - values)), 2)
        return Answers(labels, np.stack([1 - tumor, tumor], axis=1), numbers)

    return answers(logits), answers(worse)


def slow_p(pairs):
    """Return mean AUCs of both runs and the p-value, every swap written out."""
    swaps = np.random.default_rng(SEED).integers(0, 2, (PERMUTATIONS, PATIENTS)).astype(bool)

    @functools.cache
    def aucs(swap):
        each = []
        for first, second in pairs:
            swapped = np.array(swap)[first.patients]
            one = np.where(swapped, second.probabilities[:, 1], first.probabilities[:, 1])
            other = np.where(swapped, first.probabilities[:, 1], second.probabilities[:, 1])
            each.append(
                [sk.roc_auc_score(first.labels, one), sk.roc_auc_score(first.labels, other)]
            )
        return np.mean(each, axis=0)

    left, right = aucs((False,) * PATIENTS)
    sizes = [abs(np.subtract(*aucs(tuple(swap)))) for swap in swaps]
    count = sum(size >= abs(left - right) - 1e-12 for size in sizes)
    return left, right, (1 + count) / (1 + PERMUTATIONS)


def test_p_is_that_of_swapping_patient_by_patient_over_all_seeds():
    pairs = [pair(1, noise=1.5), pair(2, noise=1.5)]
    found = paired_permutation(pairs)["auc"]
    left, right, p = slow_p(pairs)
    assert (found.first, found.second) == pytest.approx((left, right), abs=1e-9)
    assert found.p == pytest.approx(p, abs=1e-12)
    assert 0.001 < p < 0.5


def test_a_run_against_itself_has_p_1():
    first, _ = pair(3, noise=1.0)
    assert {each.p for each in paired_permutation([(first, first)]).values()} == {1.0}


def test_p_does_not_depend_on_which_run_comes_first():
    first, second = pair(4, noise=2.0)
    forth, back = paired_permutation([(first, second)]), paired_permutation([(second, first)])
    assert forth["auc"].p == back["auc"].p
    assert forth["auc"].first == pytest.approx(back["auc"].second, abs=1e-12)


def test_p_is_never_0():
    # All 12 patients are answered better by the first run: only no swap and all swaps, 2 of 4096,
    # are as extreme.
    numbers = np.repeat(np.arange(12), 2)
    labels = np.tile([0, 1], 12)
    good = Answers(labels, np.where(labels[:, None] == [0, 1], 0.9, 0.1), numbers)
    bad = Answers(labels, np.where(labels[:, None] == [0, 1], 0.4, 0.6), numbers)
    found = paired_permutation([(good, bad)])["accuracy"]
    assert (found.first, found.second) == (1.0, 0.0)
    assert 1 / 1001 <= found.p < 0.01

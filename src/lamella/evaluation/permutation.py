"""Whether one run is better than another by more than chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.evaluation.answers import Answers
from lamella.evaluation.bootstrap import SEED
from lamella.evaluation.tally import Tally

PERMUTATIONS = 1000
"""Permutations of a test; the least p-value is one in 1,001."""

_ROUNDING = 1e-12
"""Differences that differ by no more than this are equal: sums in another order."""

Pair = tuple[Answers, Answers]
"""The answers of two runs to the same samples."""


@dataclass(frozen=True)
class Difference:
    """How two runs differ in one metric.

    Attributes:
        first: The first run's metric, the mean over the seeds.
        second: The second run's.
        p: Two-sided p-value of their difference.
    """

    first: float
    second: float
    p: float


def paired_permutation(pairs: Sequence[Pair], *, seed: int = SEED) -> dict[str, Difference]:
    """Compare two runs by swapping their answers, patient by patient.

    Were the runs equally good, it would not matter which answered which patient. Each permutation
    swaps the answers to all samples of a patient, of all seeds, or not.

    Args:
        pairs: The two runs' answers, one pair a seed; all to the same samples, in one order.
        seed: Seed of the permutations.

    Returns:
        Each metric that is defined. ``p = (1 + c) / (1 + n)``, where in ``c`` of ``n`` permutations
        the difference is at least as large as it is, in either direction.

    Source:
        Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    patients = np.unique(pairs[0][0].patients, return_inverse=True)[1]
    n = int(patients.max()) + 1
    swapped = np.random.default_rng(seed).integers(0, 2, (PERMUTATIONS, n)).astype(np.float64)
    # The first set of weights is the runs as they are.
    swapped = np.concatenate([np.zeros((1, n)), swapped])
    found = [_metrics_of_both(pair, patients, swapped) for pair in pairs]
    return {
        name: _difference(*np.mean([metrics[name] for metrics in found], axis=0))
        for name in found[0]
    }


def _metrics_of_both(
    pair: Pair, patients: NDArray[np.int64], swapped: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return each metric of either side under every swap, ``(2, permutations)``."""
    first, second = pair
    both = Answers(
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.probabilities, second.probabilities]),
        np.concatenate([first.patients, second.patients]),
    )
    n = swapped.shape[1]
    # A patient is two groups, one a run; a side takes one of them.
    tally = Tally.of(both, np.concatenate([patients, patients + n]), 2 * n)
    left = tally.metrics(np.concatenate([1 - swapped, swapped], axis=1))
    right = tally.metrics(np.concatenate([swapped, 1 - swapped], axis=1))
    return {name: np.stack([left[name], right[name]]) for name in left}


def _difference(left: NDArray[np.float64], right: NDArray[np.float64]) -> Difference:
    size = np.abs(left - right)
    as_large = int((size[1:] >= size[0] - _ROUNDING).sum())
    p = (1 + as_large) / len(size)
    return Difference(float(left[0]), float(right[0]), p)

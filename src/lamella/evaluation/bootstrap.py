"""How far a metric might lie elsewhere with other patients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.evaluation.answers import Answers
from lamella.evaluation.tally import Tally

RESAMPLES = 1000
"""Resamples of an interval; its limits then rest on the 25 outermost on each side."""

LEVEL = 0.95
"""Share of the resamples between the limits."""

SEED = 0
"""Seed of all resampling: equal patients are drawn for every run, so that runs can be compared."""


@dataclass(frozen=True)
class Weighable:
    """Samples whose patients can count once, several times, or not at all.

    Attributes:
        are_usable: Which sets of weights, ``(sets, patients)``, leave all metrics defined:
            ``(sets,)``.
        metrics: The metrics under such sets of weights, each ``(sets,)``.
    """

    are_usable: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
    metrics: Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Intervals:
    """Percentile intervals of metrics.

    Attributes:
        limits: Lower and upper limit of each metric; none where fewer than two patients, or no
            resample, could be used.
        patients: Patients that were drawn from.
        left_out: Resamples in which a class was missing, or a metric undefined.
    """

    limits: dict[str, tuple[float, float]]
    patients: int
    left_out: int


def bootstrap(answers: Answers, *, seed: int = SEED) -> Intervals:
    """Return 95 % intervals by drawing patients, with all their samples, with replacement.

    Patches of one patient are alike; to draw patches would make intervals far too narrow.

    Args:
        answers: At least one sample.
        seed: Seed of the draws.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13,
        doi:10.1201/9780429246593. Whole clusters: Field and Welsh 2007,
        doi:10.1111/j.1467-9868.2007.00593.x.
    """
    patients, n = renumbered(answers.patients)
    tally = Tally.of(answers, patients, n)
    return intervals_of(Weighable(tally.has_all_classes, tally.metrics), n, seed=seed)


def renumbered(patients: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return numbers without gaps for those of patients, ``(n,)``, and how many patients are."""
    different, numbers = np.unique(patients, return_inverse=True)
    return numbers.astype(np.int64), len(different)


def intervals_of(samples: Weighable, patients: int, *, seed: int = SEED) -> Intervals:
    """Return the intervals of ``bootstrap`` for any metrics.

    Args:
        samples: Their metrics, by how often each patient counts.
        patients: Number of patients; at least one.
        seed: Seed of the draws.
    """
    draws = _draws(patients, seed)
    kept = draws[samples.are_usable(draws)]
    left_out = RESAMPLES - len(kept)
    if patients < 2 or not len(kept):
        return Intervals({}, patients, left_out)
    tail = (1 - LEVEL) / 2
    limits = {
        name: (float(low), float(high))
        for name, values in samples.metrics(kept).items()
        for low, high in [np.quantile(values, [tail, 1 - tail])]
    }
    return Intervals(limits, patients, left_out)


def _draws(patients: int, seed: int) -> NDArray[np.float64]:
    """Return how often each patient is drawn, ``(RESAMPLES, patients)``."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES)
    return drawn.astype(np.float64)

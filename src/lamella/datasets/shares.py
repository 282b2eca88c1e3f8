"""Which sample is seen when, and by which rank: pure functions of seed, epoch and rank.

An epoch is an order of all samples, cut into joint batches, each cut into one share per rank.
The shares are disjoint and together hold every sample exactly once. A number of samples that does
not divide evenly makes all joint batches a little smaller, never one of them tiny, so every rank
takes the same number of steps and batch normalisation always has samples to normalise over.
"""

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.settings import Sampling

_ORDER_STREAM = 1
"""Tells this use of a seed from others, which would otherwise draw the same numbers."""


def epoch_order(
    targets: NDArray[np.int64] | NDArray[np.float32],
    *,
    seed: int,
    epoch: int,
    sampling: Sampling,
    limit: int | None,
) -> NDArray[np.int64]:
    """Return the order in which an epoch goes through the samples.

    Args:
        targets: What is true of each sample, ``(n, …)``; balanced: its class, ``(n,)``.
        seed: Seed of the training.
        epoch: Number of the epoch; each has its own order.
        sampling: Natural or balanced.
        limit: Samples per epoch; ``None`` for as many as there are.

    Returns:
        ``(min(limit, n),)`` positions in ``targets``. Natural: each at most once.
    """
    generator = np.random.default_rng([seed, epoch, _ORDER_STREAM])
    count = len(targets) if limit is None else min(limit, len(targets))
    if sampling is Sampling.BALANCED:
        return _balanced(targets.astype(np.int64), count, generator)
    return generator.permutation(len(targets))[:count]


def _balanced(
    labels: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    classes = np.unique(labels)
    # Classes take the places in turn, so that every batch is balanced too.
    place_class = classes[np.arange(count) % len(classes)]
    order = np.empty(count, dtype=np.int64)
    for each in classes:
        places = np.flatnonzero(place_class == each)
        order[places] = _drawn(np.flatnonzero(labels == each), len(places), generator)
    return order


def _drawn(
    samples: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return ``count`` samples; none comes an n-th time before all came n - 1 times."""
    rounds = -(-count // len(samples))
    return np.concatenate([generator.permutation(samples) for _ in range(rounds)])[:count]


def joint_batches(order: NDArray[np.int64], largest: int) -> list[NDArray[np.int64]]:
    """Cut an order into as few batches as possible, whose sizes differ by one at most.

    Args:
        order: ``(n,)`` positions.
        largest: Most samples in a joint batch: batch size times ranks.

    Returns:
        ``ceil(n / largest)`` arrays, which hold every position once; none for an empty order.
    """
    count = -(-len(order) // largest)
    return np.array_split(order, count) if count else []


def rank_share(batch: NDArray[np.int64], *, rank: int, ranks: int) -> NDArray[np.int64]:
    """Return the part of a joint batch that is one rank's: a piece without gaps.

    Not every ``ranks``-th position: classes take balanced places in turn, so that would give each
    rank a class of its own, and batch normalisation would tell the network the class.
    """
    return np.array_split(batch, ranks)[rank]

from collections import Counter

import numpy as np
import pytest

from lamella.datasets.settings import Sampling
from lamella.datasets.shares import epoch_order, joint_batches, rank_share


def shares_of_epoch(n: int, *, ranks: int, batch_size: int, epoch: int = 1) -> list[list]:
    order = epoch_order(
        np.zeros(n, dtype=np.int64), seed=7, epoch=epoch, sampling=Sampling.NATURAL, limit=None
    )
    joint = joint_batches(order, batch_size * ranks)
    return [[rank_share(each, rank=rank, ranks=ranks) for each in joint] for rank in range(ranks)]


@pytest.mark.parametrize("n", [8, 9, 16, 17, 31, 97, 100])
@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_together_see_every_sample_exactly_once_in_equally_many_steps(n, ranks):
    shares = shares_of_epoch(n, ranks=ranks, batch_size=4)
    seen = Counter(sample for rank in shares for batch in rank for sample in batch.tolist())
    assert seen == Counter(range(n))
    assert {len(rank) for rank in shares} == {-(-n // (4 * ranks))}


@pytest.mark.parametrize("n", [13, 25, 26, 1001])
@pytest.mark.parametrize("ranks", [2, 3])
def test_no_batch_is_larger_than_asked_or_so_small_that_normalisation_fails(n, ranks):
    sizes = [len(b) for rank in shares_of_epoch(n, ranks=ranks, batch_size=4) for b in rank]
    assert 2 <= min(sizes) <= max(sizes) <= 4


def test_epochs_and_seeds_have_orders_of_their_own_and_each_is_repeatable():
    def order(seed: int, epoch: int) -> list[int]:
        return epoch_order(
            np.zeros(50, dtype=np.int64),
            seed=seed,
            epoch=epoch,
            sampling=Sampling.NATURAL,
            limit=None,
        ).tolist()

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_limited_epoch_holds_that_many_different_samples():
    order = epoch_order(
        np.zeros(50, dtype=np.int64), seed=1, epoch=3, sampling=Sampling.NATURAL, limit=20
    )
    assert len(set(order.tolist())) == len(order) == 20


def test_balanced_epoch_has_equally_many_of_each_class_and_repeats_as_little_as_possible():
    labels = np.array([0] * 26 + [1] * 4, dtype=np.int64)
    order = epoch_order(labels, seed=1, epoch=1, sampling=Sampling.BALANCED, limit=None)
    assert np.bincount(labels[order]).tolist() == [15, 15]
    # 15 draws of 4 samples: each 3 or 4 times.
    assert set(Counter(order[labels[order] == 1].tolist()).values()) == {3, 4}
    assert max(Counter(order[labels[order] == 0].tolist()).values()) == 1


def test_no_samples_make_no_batches():
    assert joint_batches(np.arange(0), 4) == []


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_balanced_batches_are_balanced_on_every_rank(ranks):
    labels = np.array([0] * 300 + [1] * 40 + [2] * 9, dtype=np.int64)
    order = epoch_order(labels, seed=1, epoch=1, sampling=Sampling.BALANCED, limit=None)
    for joint in joint_batches(order, 12 * ranks):
        for rank in range(ranks):
            counts = np.bincount(labels[rank_share(joint, rank=rank, ranks=ranks)], minlength=3)
            assert counts.max() - counts.min() <= 1

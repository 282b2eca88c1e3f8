import numpy as np
import pytest

from lamella.datasets.batches import Schedule, evaluation_batches, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.datasets.read_ahead import ReadAhead
from lamella.datasets.settings import AugmentSettings, Sampling


@pytest.fixture
def dataset(index):
    dataset = PatchDataset(index, "train", max_open_shards=1)
    yield dataset
    dataset.close()


def seen(dataset: PatchDataset, ranks: int) -> dict[int, bytes]:
    """Return what each sample looked like in epoch 2; each must be seen once."""
    schedule = Schedule(2, ranks, 9, Sampling.NATURAL, None, AugmentSettings())
    found: dict[int, bytes] = {}
    for rank in range(ranks):
        for batch in training_batches(dataset, schedule, epoch=2, rank=rank):
            assert batch.labels.tolist() == dataset.labels[batch.positions].tolist()
            for position, image in zip(batch.positions.tolist(), batch.images, strict=True):
                assert position not in found
                found[position] = image.tobytes()
    return found


def test_samples_look_alike_however_many_ranks_share_them(dataset):
    alone = seen(dataset, ranks=1)
    assert sorted(alone) == list(range(7))
    assert alone == seen(dataset, ranks=2)


def test_joint_size_counts_the_samples_of_all_ranks(dataset):
    schedule = Schedule(2, 2, 9, Sampling.NATURAL, None, AugmentSettings())
    by_rank = [list(training_batches(dataset, schedule, epoch=1, rank=rank)) for rank in (0, 1)]
    assert [each.joint_size for each in by_rank[0]] == [4, 3]
    assert [len(a.labels) + len(b.labels) for a, b in zip(*by_rank, strict=True)] == [4, 3]


def test_evaluation_shows_all_samples_unchanged_and_may_leave_a_rank_without_any(dataset):
    places: list[int] = []
    for rank in range(9):
        for batch in evaluation_batches(dataset, 3, rank=rank, ranks=9):
            places += batch.positions.tolist()
            assert np.array_equal(batch.images, dataset.read(batch.positions))
    assert places == list(range(7))


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_ahead_keeps_the_order_and_passes_errors_on(threads):
    def read(key: int) -> int:
        if key == 4:
            raise ValueError("four")
        return key * 10

    values = iter(ReadAhead(read, range(6), threads=threads))
    assert [next(values) for _ in range(4)] == [0, 10, 20, 30]
    with pytest.raises(ValueError, match="four"):
        next(values)

from concurrent.futures import wait
from contextlib import contextmanager
from threading import Barrier, Event

import numpy as np
import pytest

from lamella.datasets import read_ahead
from lamella.datasets.batches import Schedule, evaluation_batches, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.datasets.read_ahead import OfThread, ReadAhead, read_ahead_threads
from lamella.datasets.settings import AugmentSettings, Sampling
from lamella.datasets.targets import class_targets


@pytest.fixture
def dataset(index):
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=1)
    yield dataset
    dataset.close()


@pytest.fixture
def threaded(index):
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=3, threads=3)
    yield dataset
    dataset.close()


def seen(dataset: PatchDataset, ranks: int) -> dict[int, bytes]:
    """Return what each sample looked like in epoch 2; each must be seen once."""
    schedule = Schedule(2, ranks, 9, Sampling.NATURAL, None, AugmentSettings())
    found: dict[int, bytes] = {}
    for rank in range(ranks):
        for batch in training_batches(dataset, schedule, epoch=2, rank=rank):
            assert batch.targets.tolist() == dataset.learned[batch.positions].tolist()
            for position, image in zip(batch.positions.tolist(), batch.images, strict=True):
                assert position not in found
                found[position] = image.tobytes()
    return found


def test_samples_look_alike_however_many_ranks_share_them(dataset):
    alone = seen(dataset, ranks=1)
    assert sorted(alone) == list(range(7))
    assert alone == seen(dataset, ranks=2)


def test_samples_look_alike_however_many_threads_read_them(dataset, threaded):
    settings = AugmentSettings(rotation_deg=30, noise_levels=5, dropout_holes=2)
    schedule = Schedule(2, 1, 9, Sampling.NATURAL, None, settings)
    one, three = (
        list(training_batches(each, schedule, epoch=2, rank=0)) for each in (dataset, threaded)
    )
    assert len(one) == len(three) == 4
    for first, second in zip(one, three, strict=True):
        assert np.array_equal(first.positions, second.positions)
        assert np.array_equal(first.images, second.images)


def test_joint_size_counts_the_samples_of_all_ranks(dataset):
    schedule = Schedule(2, 2, 9, Sampling.NATURAL, None, AugmentSettings())
    by_rank = [list(training_batches(dataset, schedule, epoch=1, rank=rank)) for rank in (0, 1)]
    assert [each.joint_size for each in by_rank[0]] == [4, 3]
    assert [len(a.targets) + len(b.targets) for a, b in zip(*by_rank, strict=True)] == [4, 3]


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


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_read_ahead_than_there_are_threads_and_one(threads):
    asked: list[int] = []
    values = iter(ReadAhead(str, (asked.append(key) or key for key in range(20)), threads=threads))
    assert [next(values), next(values)] == ["0", "1"]
    assert len(asked) == 2 + threads + 1
    assert list(values) == [str(key) for key in range(2, 20)]


def test_closing_waits_for_what_is_being_read_and_begins_nothing_more(monkeypatch):
    begun, done, reads_1, go_on = [], [], Event(), Event()

    def read(key: int) -> int:
        begun.append(key)
        if key == 1:
            reads_1.set()
            assert go_on.wait(timeout=120)
        done.append(key)
        return key

    def wait_until_read(values):
        # What was not begun has been taken back by now.
        go_on.set()
        return wait(values)

    monkeypatch.setattr(read_ahead, "wait", wait_until_read)
    with read_ahead_threads(1) as pool:
        values = iter(ReadAhead(read, range(20), pool=pool))
        assert next(values) == 0
        assert reads_1.wait(timeout=120)
        values.close()
        assert begun == done == [0, 1]
        assert pool.submit(int, "7").result() == 7


def test_threads_read_at_the_same_time():
    # Each waits for the other; one alone would wait until the barrier breaks.
    both = Barrier(2, timeout=120)
    assert sorted(ReadAhead(lambda _: both.wait(), range(4), threads=2)) == [0, 0, 1, 1]


def test_every_thread_has_a_reader_of_its_own_until_the_end():
    opened, closed = [], []

    @contextmanager
    def reader():
        own = object()
        opened.append(own)
        yield own
        closed.append(own)

    both = Barrier(2, timeout=120)
    with OfThread(reader) as mine:
        found = [own for _, own in ReadAhead(lambda _: (both.wait(), mine()), range(4), threads=2)]
        found += [mine(), mine()]
        assert not closed
    assert len(opened) == 3
    assert set(found) == set(opened) == set(closed)


def test_waiting_is_told_as_a_share_of_the_time(monkeypatch):
    # Asked at 0, given at 3, asked again at 4; given at once; asked a last time at 10.
    clock = iter([0.0, 3.0, 4.0, 4.0, 4.0, 10.0])
    monkeypatch.setattr("lamella.datasets.read_ahead.time.monotonic", lambda: next(clock))
    values = ReadAhead(str, range(2))
    assert values.wait_share == 0
    assert list(values) == ["0", "1"]
    assert values.wait_share == pytest.approx(0.3)


def test_training_batches_tell_how_long_they_were_waited_for(dataset):
    schedule = Schedule(2, 1, 9, Sampling.NATURAL, None, AugmentSettings())
    batches = training_batches(dataset, schedule, epoch=1, rank=0)
    for _ in batches:
        pass
    assert 0 < batches.wait_share <= 1

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from lamella.datasets.open_shards import OpenShards
from lamella.datasets.patches import PatchDataset
from lamella.datasets.targets import class_targets
from lamella.errors import StoreError
from lamella.stores.shards import ShardReader


def test_reads_labelled_patches_of_the_split_in_the_order_asked_for(index):
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=2)
    # Labels go -1 0 1 -1 0 | -1 0 1 -1 0 1: six patches have one or the other class.
    assert dataset.targets.truth.tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert dataset.samples.tolist() == [1, 2, 4, 6, 7, 9, 10]
    images = dataset.read(np.array([6, 0, 3, 0]))
    assert images[:, 0, 0].tolist() == [[1, 5, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert images[0, 2, 3].tolist() == [1, 5, 4]
    dataset.close()


def test_never_more_files_are_open_than_allowed(index, monkeypatch):
    now_open: set[str] = set()
    most = []

    class Watched(ShardReader):
        def __init__(self, path):
            super().__init__(path)
            now_open.add(path.name)
            most.append(len(now_open))

        def close(self):
            super().close()
            now_open.discard(self.path.name)

    monkeypatch.setattr("lamella.patches.pixels.ShardReader", Watched)
    shards = OpenShards(index.folder, 2)
    for name in ("s0.h5", "s1.h5", "s0.h5", "s2.h5"):
        assert shards.reader(name).path.name == name
    # s1 was used longest ago.
    assert now_open == {"s0.h5", "s2.h5"}
    assert max(most) == 2
    shards.close()
    assert not now_open


def test_missing_shard_is_named(index):
    (index.folder / "s1.h5").unlink()
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=2)
    with pytest.raises(StoreError, match=r"s1\.h5"):
        dataset.read(np.arange(7))
    dataset.close()


def test_threads_share_the_files_that_may_be_open_and_give_them_all_back(index, monkeypatch):
    now_open: list[ShardReader] = []
    most: list[int] = []

    class Watched(ShardReader):
        def __init__(self, path):
            super().__init__(path)
            now_open.append(self)
            most.append(len(now_open))

        def read(self, rows):
            both.wait()
            return super().read(rows)

        def close(self):
            super().close()
            now_open.remove(self)

    monkeypatch.setattr("lamella.patches.pixels.ShardReader", Watched)
    both = Barrier(2, timeout=120)
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=2, threads=2)
    with ThreadPoolExecutor(2) as threads:
        # Both slides for each, so that each reads two shards; they wait for each other.
        parts = [np.array([0, 3]), np.array([4, 2])]
        images = list(threads.map(dataset.read, parts))
    assert [image[:, 0, 0, :2].tolist() for image in images] == [
        [[0, 1], [1, 1]],
        [[1, 2], [0, 4]],
    ]
    assert len({id(reader) for reader in now_open}) == len(now_open) == 2
    assert max(most) == 2
    dataset.close()
    assert now_open == []


def test_no_samples_give_no_pixels(index):
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=1)
    assert dataset.read(np.arange(0)).shape == (0, 16, 16, 3)
    dataset.close()

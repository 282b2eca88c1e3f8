import numpy as np
import pytest

from lamella.datasets.open_shards import OpenShards
from lamella.datasets.patches import PatchDataset
from lamella.errors import StoreError
from lamella.stores.shards import ShardReader


def test_reads_labelled_patches_of_the_split_in_the_order_asked_for(index):
    dataset = PatchDataset(index, "train", max_open_shards=2)
    # Labels go -1 0 1 -1 0 | -1 0 1 -1 0 1: six patches have one or the other class.
    assert dataset.labels.tolist() == [0, 1, 0, 0, 1, 0, 1]
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
    dataset = PatchDataset(index, "train", max_open_shards=2)
    with pytest.raises(StoreError, match=r"s1\.h5"):
        dataset.read(np.arange(7))
    dataset.close()

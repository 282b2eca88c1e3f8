"""The labelled patches of one split, read from the shards by number."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.datasets.open_shards import OpenShards
from lamella.patches.index import PatchIndex


class PatchDataset:
    """Labelled patches of a split; sample ``i`` is row ``i`` of ``table``.

    Args:
        index: The patches of the cohort.
        split: ``train``, ``validation`` or ``test``.
        max_open_shards: Files open at a time.

    Attributes:
        table: The split's rows of the index; patches without a label are left out.
        labels: ``(n,)`` class of each sample.
        samples: ``(n,)`` row of each sample in the whole index.
    """

    def __init__(self, index: PatchIndex, split: str, *, max_open_shards: int) -> None:
        self.table: pd.DataFrame = labelled(index.table, split)
        self.labels: NDArray[np.int64] = self.table["label"].to_numpy(np.int64)
        self.samples: NDArray[np.int64] = self.table.index.to_numpy(np.int64)
        self._shards = self.table["shard"].to_numpy(str)
        self._rows = self.table["row"].to_numpy(np.int64)
        self._open = OpenShards(index.folder, max_open_shards, index.slide_paths)

    def __len__(self) -> int:
        return len(self.table)

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of some samples; each shard is gone through once, row by row.

        Args:
            positions: ``(k,)`` sample numbers, at least one, in any order, repeats allowed.

        Returns:
            ``(k, size, size, 3)`` uint8, RGB, in the order of ``positions``.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        names, which = np.unique(self._shards[positions], return_inverse=True)
        order = np.argsort(which, kind="stable")
        parts = [
            self._open.reader(name).read(self._rows[positions[which == place]])
            for place, name in enumerate(names.tolist())
        ]
        images = np.empty((len(positions), *parts[0].shape[1:]), dtype=np.uint8)
        images[order] = np.concatenate(parts)
        return images

    def close(self) -> None:
        """Close the files."""
        self._open.close()


def labelled(table: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the rows of a split that have a label."""
    return table[(table["split"] == split) & (table["label"] >= 0)]

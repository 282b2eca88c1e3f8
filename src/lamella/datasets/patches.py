"""The patches of one split that are learned from or judged, read from the shards by number."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import LifoQueue

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.datasets.open_shards import OpenShards
from lamella.datasets.targets import Targets
from lamella.patches.index import PatchIndex


class PatchDataset:
    """Patches of a split of which something is known; sample ``i`` is row ``i`` of ``table``.

    Args:
        index: The patches of the cohort.
        targets: What is true of them, row by row.
        split: ``train``, ``validation`` or ``test``.
        max_open_shards: Files open at a time, over all threads; each thread may have one.
        threads: How many threads may read at a time; a further one waits.

    Attributes:
        table: The split's rows of the index; patches of which nothing is known are left out.
        targets: What is true of the samples.
        learned: What a network is given of that: ``(n,)`` int64 classes, or ``(n, k)`` float32.
        samples: ``(n,)`` row of each sample in the whole index.
        threads: How many threads may read at a time.
    """

    def __init__(
        self,
        index: PatchIndex,
        targets: Targets,
        split: str,
        *,
        max_open_shards: int,
        threads: int = 1,
    ) -> None:
        rows = known_rows(index, targets, split)
        self.table: pd.DataFrame = index.table.iloc[rows]
        self.targets = targets.take(rows)
        self.learned = self.targets.learned
        self.samples: NDArray[np.int64] = self.table.index.to_numpy(np.int64)
        self.threads = threads
        self._patch_px = index.patch_px
        self._shards = self.table["shard"].to_numpy(str)
        self._rows = self.table["row"].to_numpy(np.int64)
        # Last in, first out: with less to do, fewer files are open.
        self._idle: LifoQueue[OpenShards] = LifoQueue()
        for _ in range(threads):
            most = max(1, max_open_shards // threads)
            self._idle.put(OpenShards(index.folder, most, index.slide_paths))

    def __len__(self) -> int:
        return len(self.table)

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of some samples; each shard is gone through once, row by row.

        Several threads may call it at a time: each has files of its own meanwhile.

        Args:
            positions: ``(k,)`` sample numbers, in any order, repeats allowed.

        Returns:
            ``(k, size, size, 3)`` uint8, RGB, in the order of ``positions``.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        names, which = np.unique(self._shards[positions], return_inverse=True)
        images = np.empty((len(positions), self._patch_px, self._patch_px, 3), dtype=np.uint8)
        with self._borrowed() as shards:
            for number, name in enumerate(names.tolist()):
                places = np.flatnonzero(which == number)
                images[places] = shards.reader(name).read(self._rows[positions[places]])
        return images

    def close(self) -> None:
        """Close the files; nobody may be reading."""
        for shards in [self._idle.get() for _ in range(self.threads)]:
            shards.close()
            self._idle.put(shards)

    @contextmanager
    def _borrowed(self) -> Iterator[OpenShards]:
        shards = self._idle.get()
        try:
            yield shards
        finally:
            self._idle.put(shards)


def known_rows(index: PatchIndex, targets: Targets, split: str) -> NDArray[np.int64]:
    """Return the rows of a split of which something is known, positions in the index."""
    mine = (index.table["split"] == split).to_numpy()
    return np.flatnonzero(mine & targets.known)

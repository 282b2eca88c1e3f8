"""A bounded number of open patch files."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from lamella.patches.pixels import open_patches
from lamella.stores.shards import ShardReader


class OpenShards:
    """Opens patch files when they are first read, and closes the least recently used.

    A process that is forked or spawned makes its own: an HDF5 file cannot be shared.

    Args:
        folder: The folder that names of shards are relative to.
        most: Files open at a time; with storage ``coordinates`` as many slides too.
        slide_paths: Where the slides of shards lie that hold no pixels.
    """

    def __init__(
        self, folder: Path, most: int, slide_paths: Mapping[str, Path] | None = None
    ) -> None:
        self._folder = folder
        self._slide_paths = slide_paths or {}
        self._most = most
        self._open: OrderedDict[str, ShardReader] = OrderedDict()

    def reader(self, shard: str) -> ShardReader:
        """Return the reader of a shard; it is closed when ``most`` others were asked for since.

        Raises:
            StoreError: the shard is missing, damaged or of another layout.
        """
        if shard not in self._open:
            self._make_room()
            self._open[shard] = open_patches(self._folder / shard, self._slide_paths.get(shard))
        self._open.move_to_end(shard)
        return self._open[shard]

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _make_room(self) -> None:
        while len(self._open) >= self._most:
            self._open.popitem(last=False)[1].close()

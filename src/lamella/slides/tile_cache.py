"""Decoded tiles, the most recently used ones, up to a number of bytes."""

import math
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, int]
"""Level, and number of the tile in it."""


class TileCache:
    """Keeps decoded tiles.

    It starts small and grows as far as it is asked to: tiles that stay within the processor's
    own caches are decoded and copied faster.

    Args:
        most_bytes: Most bytes that are ever kept; the last tile is kept whatever its size.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._capacity = 0
        self._tiles: OrderedDict[Key, NDArray[np.uint8]] = OrderedDict()
        self.bytes = 0

    def get(self, key: Key) -> NDArray[np.uint8] | None:
        """Return a tile, or ``None`` where it is not kept."""
        tile = self._tiles.get(key)
        if tile is not None:
            self._tiles.move_to_end(key)
        return tile

    def grow(self, capacity_bytes: int) -> None:
        """Keep at least this many bytes from now on, within ``most_bytes``."""
        self._capacity = max(self._capacity, min(capacity_bytes, self._most))

    def room(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Make room for a tile of this shape: the oldest ones go.

        Returns:
            An array to decode it into; that of a dropped tile where one fits, since memory
            fresh from the system costs a good part of decoding a tile.
        """
        n = math.prod(shape)
        dropped = None
        while self._tiles and self.bytes + n > self._capacity:
            _, dropped = self._tiles.popitem(last=False)
            self.bytes -= dropped.nbytes
        if dropped is not None and dropped.shape == shape:
            return dropped
        return np.empty(shape, np.uint8)

    def put(self, key: Key, tile: NDArray[np.uint8]) -> None:
        """Keep a tile, in an array that ``room`` gave."""
        self._tiles[key] = tile
        self.bytes += tile.nbytes

    def clear(self) -> None:
        """Drop all tiles."""
        self._tiles.clear()
        self.bytes = 0

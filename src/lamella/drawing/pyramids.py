"""The lower levels of a pyramid, made while the finest level passes by.

Of each level only one row of tiles is held as pixels; finished tiles wait, compressed, in an
unnamed temporary file until their level's turn in the TIFF comes.
"""

from collections.abc import Callable, Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

FACTOR = 4
"""Each level is this many times smaller than the one above, in width and in height."""

_SMALLEST_PX = 512

Pixels = NDArray[np.uint8]
"""``(height, width, 3)`` RGB."""

Encode = Callable[[Pixels], bytes]


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Return width and height of every level, finest first, down to about 512 pixels.

    Remainders are dropped, so pixel ``(x, y)`` of a level is the mean of exactly sixteen pixels
    of the level above.
    """
    sizes = [(width, height)]
    while max(sizes[-1]) > _SMALLEST_PX and min(sizes[-1]) >= 2 * FACTOR:
        sizes.append((sizes[-1][0] // FACTOR, sizes[-1][1] // FACTOR))
    return sizes


def reduce(pixels: Pixels) -> Pixels:
    """Return the means of squares of four by four pixels; what fills no square is left out."""
    height, width = (length // FACTOR for length in pixels.shape[:2])
    whole = pixels[: height * FACTOR, : width * FACTOR]
    rows = whole[0::4].astype(np.uint16)
    for offset in range(1, FACTOR):
        rows += whole[offset::4]
    sums = rows[:, 0::4] + rows[:, 1::4] + rows[:, 2::4] + rows[:, 3::4]
    return ((sums + 8) >> 4).astype(np.uint8)


def tiles_of(pixels: Pixels, tile_px: int) -> Iterator[Pixels]:
    """Cut pixels into whole tiles, row by row; the last ones repeat the border's pixels."""
    height, width = pixels.shape[:2]
    padding = ((0, -height % tile_px), (0, -width % tile_px), (0, 0))
    padded = np.pad(pixels, padding, mode="edge") if any(map(sum, padding)) else pixels
    for y in range(0, padded.shape[0], tile_px):
        for x in range(0, padded.shape[1], tile_px):
            yield np.ascontiguousarray(padded[y : y + tile_px, x : x + tile_px])


class LowerLevel:
    """One level below the finest: takes rows, keeps compressed tiles, passes rows on.

    Args:
        size: Width and height of the level.
        tile_px: Edge length of a tile, a multiple of four.
        encode: Compresses a tile.
        waiting: Empty temporary file for the compressed tiles.
        below: The next level, or ``None``.
    """

    def __init__(
        self,
        size: tuple[int, int],
        tile_px: int,
        encode: Encode,
        waiting: IO[bytes],
        below: "LowerLevel | None",
    ) -> None:
        width, self._rows_left = size
        self._encode = encode
        self._strip = np.empty((tile_px, width, 3), np.uint8)
        self._filled = 0
        self._file = waiting
        self._lengths: list[int] = []
        self._below = below

    def push(self, rows: Pixels) -> None:
        """Take the next rows, ``(n, width, 3)``; rows beyond the level's height are ignored."""
        rows = rows[: self._rows_left]
        while len(rows):
            taken = rows[: len(self._strip) - self._filled]
            self._strip[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            self._rows_left -= len(taken)
            rows = rows[len(taken) :]
            if self._filled == len(self._strip) or self._rows_left == 0:
                self._finish_strip()

    def tiles(self) -> Iterator[bytes]:
        """Return the compressed tiles, row by row; complete once all rows were pushed."""
        self._file.seek(0)
        for length in self._lengths:
            yield self._file.read(length)

    def _finish_strip(self) -> None:
        rows = self._strip[: self._filled]
        for tile in tiles_of(rows, len(self._strip)):
            self._lengths.append(self._file.write(self._encode(tile)))
        if self._below is not None:
            self._below.push(reduce(rows))
        self._filled = 0

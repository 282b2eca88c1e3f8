"""Reads the tiles of TIFF pyramids directly, each one decoded once."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.slides.jpeg_streams import complete_stream, is_ycbcr
from lamella.slides.settings import ReaderName
from lamella.slides.source import CACHE_BYTES, Bounds, part_inside, unreadable
from lamella.slides.tiff_layout import JPEG, YCBCR, TiffLayout
from lamella.slides.tile_cache import TileCache
from lamella.slides.tile_decoding import decoder

_WHITE = 255


@dataclass(frozen=True)
class TileGrid:
    """The tiles of a level: ``columns`` x ``rows`` of ``width`` x ``height`` level pixels.

    Tile ``(0, 0)`` begins at pixel ``(0, 0)`` of the level. ``is_jpeg`` tells whether
    ``TileSource.encoded_tile`` gives its tiles.
    """

    columns: int
    rows: int
    width: int
    height: int
    is_jpeg: bool


class TileSource:
    """A TIFF pyramid; a ``SlideSource``.

    Args:
        path: The file.
        layout: What ``read_layout`` found in it.
        cache_bytes: Most bytes of decoded tiles that are kept.
    """

    reader = ReaderName.TILES
    bounds: Bounds | None = None

    def __init__(self, path: Path, layout: TiffLayout, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = path
        self.vendor = layout.vendor
        self.level_sizes = tuple(level.size for level in layout.levels)
        self.level_downsamples = layout.downsamples
        self.mpp = layout.mpp
        self._levels = layout.levels
        self._row_bytes = [level.columns * math.prod(level.tile) * 3 for level in layout.levels]
        self._decoders = [decoder(level) for level in layout.levels]
        self._cache = TileCache(cache_bytes)
        self._decoded = [bytearray(len(level.byte_counts)) for level in layout.levels]
        self._file = path.open("rb", buffering=0)

    def close(self) -> None:
        """Close the file and free the decoded tiles."""
        self._cache.clear()
        self._file.close()

    def read_into(self, pixels: NDArray[np.uint8], x: int, y: int, level: int) -> None:
        """Fill an array with a region of a level; see ``SlideSource``."""
        part, left, top = part_inside(self, pixels, (x, y), level, background=_WHITE)
        if not part.size:
            return
        width, height = self._levels[level].tile
        level_width, level_height = self.level_sizes[level]
        rows = _overlaps(top, part.shape[0], height)
        columns = _overlaps(left, part.shape[1], width)
        # Read row by row, the next regions lie below at most these rows of tiles.
        row_bytes = len(rows) * self._row_bytes[level]
        if _cuts_a_tile(left, part.shape[1], width, level_width) or _cuts_a_tile(
            top, part.shape[0], height, level_height
        ):
            self._cache.grow(row_bytes)
        for row, down, tile_down in rows:
            for column, across, tile_across in columns:
                tile = self._tile(level, column, row, row_bytes)
                part[down, across] = _WHITE if tile is None else tile[tile_down, tile_across]

    def tile_grid(self, level: int) -> TileGrid:
        """Return how the tiles of a level lie."""
        found = self._levels[level]
        return TileGrid(found.columns, found.rows, *found.tile, found.compression == JPEG)

    def present_tiles(self, level: int) -> NDArray[np.bool_]:
        """Return which tiles of a level the file does not leave out, ``(rows, columns)``."""
        found = self._levels[level]
        return (found.byte_counts > 0).reshape(-1, found.columns)

    def encoded_tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return a tile as a JPEG file of its own, its compressed pixels untouched.

        The tables that the tiles of the file share are put in, and an Adobe marker tells any
        decoder the colours that ``read_into`` shows. The image has the size of a whole tile,
        also where the tile hangs over the right or bottom border of the level: what lies there
        is filling, which ``read_into`` never shows.

        Args:
            level: Level of the pyramid; its ``tile_grid`` must say ``is_jpeg``.
            column: Column of the tile.
            row: Row of the tile.

        Returns:
            A complete JPEG stream; ``None`` where the file leaves the tile out, which
            ``read_into`` shows as background.

        Raises:
            SlideUnreadableError: the tile cannot be read from the file, is no JPEG, or damaged.
        """
        found = self._levels[level]
        data = self._bytes(level, column, row)
        if not data:
            return None
        try:
            if found.compression != JPEG:
                raise ValueError(f"its compression is {found.compression}, not JPEG")
            ycbcr = found.photometric == YCBCR or is_ycbcr(data)
            return complete_stream(data, found.tables, ycbcr=ycbcr, size=found.tile)
        except ValueError as error:
            raise self._undecodable(level, column, row, error) from error

    def _tile(self, level: int, column: int, row: int, row_bytes: int) -> NDArray[np.uint8] | None:
        found = self._levels[level]
        number = row * found.columns + column
        kept = self._cache.get((level, number))
        if kept is not None or found.byte_counts[number] == 0:
            return kept
        # Regions of whole tiles need none of them again, unless they overlap.
        if self._decoded[level][number]:
            self._cache.grow(row_bytes)
        self._decoded[level][number] = True
        tile = self._cache.room((found.tile[1], found.tile[0], 3))
        data = self._bytes(level, column, row)
        try:
            self._decoders[level](data, tile)
        except ValueError as error:
            raise self._undecodable(level, column, row, error) from error
        self._cache.put((level, number), tile)
        return tile

    def _bytes(self, level: int, column: int, row: int) -> bytes:
        found = self._levels[level]
        number = row * found.columns + column
        n = int(found.byte_counts[number])
        try:
            data = os.pread(self._file.fileno(), n, int(found.offsets[number]))
        except OSError as error:
            raise self._undecodable(level, column, row, error) from error
        if len(data) != n:
            raise self._undecodable(level, column, row, ValueError("the file is cut off"))
        return data

    def _undecodable(self, level: int, column: int, row: int, error: Exception) -> Exception:
        return unreadable(
            f"the tile in column {column}, row {row} of level {level} cannot be decoded ({error})",
            self.path,
        )


def _cuts_a_tile(start: int, length: int, tile: int, level_length: int) -> bool:
    """Return whether a line of pixels begins or ends within a tile, which its neighbours need."""
    end = start + length
    return bool(start % tile or (end % tile and end < level_length))


def _overlaps(start: int, length: int, tile: int) -> list[tuple[int, slice, slice]]:
    """Return the tiles below a line of pixels: number, part of the line, part of the tile."""
    first, behind = start // tile, -(-(start + length) // tile)
    found = []
    for number in range(first, behind):
        before = number * tile - start
        begin, end = max(before, 0), min(before + tile, length)
        found.append((number, slice(begin, end), slice(begin - before, end - before)))
    return found

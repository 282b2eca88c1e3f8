"""Patches that are the slide's own JPEG tiles: no pixel is decoded, nothing is encoded again."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import SlideError
from lamella.slides.reader import SlideReader
from lamella.slides.resolution import ReadPlan
from lamella.slides.tile_source import TileSource
from lamella.stores.shards import PatchColumns

_REMEDY = "Set `patches.size_px` and `patches.mpp` to those of the tiles, or use storage jpeg"


@dataclass(frozen=True)
class WholeTiles:
    """The tiles of a level that lie wholly on the slide.

    Attributes:
        source: The slide.
        level: The level.
        tile_px: Edge length of a tile in pixels of the level.
        columns: Tiles from left to right.
        rows: Tiles from top to bottom.
    """

    source: TileSource
    level: int
    tile_px: int
    columns: int
    rows: int

    @property
    def edge_l0(self) -> float:
        """Edge length of a tile in level-0 pixels; not whole where the downsample is not."""
        return self.tile_px * self.source.level_downsamples[self.level]


def whole_tiles(reader: SlideReader, plan: ReadPlan) -> WholeTiles:
    """Return the tiles that the patches of a plan are.

    Raises:
        SlideError: a patch is not exactly one JPEG tile, or the slide is not read by its tiles.
    """
    source, where, size = reader.source, str(reader.path), plan.size_px
    if not isinstance(source, TileSource):
        raise SlideError(
            f"reader {source.reader} has no tiles to pass through",
            where,
            "Use storage jpeg, or set `reading.reader: auto`",
        )
    grid = source.tile_grid(plan.level)
    if not grid.is_jpeg or (grid.width, grid.height, plan.read_px) != (size, size, size):
        tiles = f"tiles of {grid.width} x {grid.height} pixels" if grid.is_jpeg else "no JPEG tiles"
        raise SlideError(
            f"a patch of {size} pixels, read as {plan.read_px}, is not one tile: "
            f"level {plan.level} has {tiles}",
            where,
            _REMEDY,
        )
    columns, rows = (length // size for length in source.level_sizes[plan.level])
    return WholeTiles(source, plan.level, size, columns, rows)


def tile_corners(tiles: WholeTiles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``x`` and ``y`` of all whole tiles, to the nearest level-0 pixel, row by row.

    Tiles that the file leaves out are blank, and not among them.
    """
    present = tiles.source.present_tiles(tiles.level)
    row, column = np.nonzero(present[: tiles.rows, : tiles.columns])
    x, y = (np.floor(place * tiles.edge_l0 + 0.5).astype(np.int64) for place in (column, row))
    return x, y


def encoded_tiles(tiles: WholeTiles, columns: PatchColumns) -> Iterator[bytes]:
    """Yield the JPEG of each patch.

    Raises:
        SlideError: a tile cannot be read, or is damaged.
    """
    for x, y in zip(columns.x.tolist(), columns.y.tolist(), strict=True):
        column, row = round(x / tiles.edge_l0), round(y / tiles.edge_l0)
        encoded = tiles.source.encoded_tile(tiles.level, column, row)
        # `tile_corners` left out the tiles that are not there.
        assert encoded is not None
        yield encoded

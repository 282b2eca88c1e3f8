"""Draw one slide."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from lamella.drawing.blocks import SlideDrawer, boxes_of_row
from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.pyramids import FACTOR, Encode, LowerLevel, level_sizes, reduce, tiles_of
from lamella.drawing.tiffs import encode_tile, write_tiff
from lamella.stores.atomic import replacing

_BLOCK_PX = 1024


def draw_slide(path: Path, spec: SlideSpec, *, block_px: int | None = None) -> None:
    """Draw a slide into a tiled pyramidal TIFF, block by block.

    The bytes depend on ``spec`` alone. Memory holds one block and, of each lower level, one row
    of tiles; it does not grow with the height of the slide.

    Args:
        path: File to write, in one step; ``.svs`` or ``.scn`` by custom, any suffix works.
        spec: What to draw.
        block_px: Edge length of a block, a multiple of ``spec.tile_px``; a matter of speed and
            memory only. About 1,024 when not given.

    Raises:
        ValueError: ``block_px`` is no multiple of ``spec.tile_px``.
    """
    if block_px is None:
        block_px = max(_BLOCK_PX // spec.tile_px, 1) * spec.tile_px
    if block_px % spec.tile_px:
        raise ValueError(f"block_px={block_px} is no multiple of tile_px={spec.tile_px}")
    sizes = level_sizes(*spec.field_px)
    encode = partial(encode_tile, quality=spec.jpeg_quality)
    with replacing(path) as temporary, ExitStack() as stack:
        waiting = [
            stack.enter_context(tempfile.TemporaryFile(dir=temporary.parent)) for _ in sizes[1:]
        ]
        lower = _lower_levels(sizes[1:], spec, encode, waiting)
        finest = _finest_tiles(spec, lower[0] if lower else None, encode, block_px)
        write_tiff(temporary, spec, sizes, [finest, *(level.tiles() for level in lower)])


def _lower_levels(
    sizes: list[tuple[int, int]], spec: SlideSpec, encode: Encode, waiting: Sequence[IO[bytes]]
) -> list[LowerLevel]:
    """Return the levels below the finest, each knowing the next, largest first."""
    levels: list[LowerLevel] = []
    for size, file in zip(reversed(sizes), reversed(waiting), strict=True):
        below = levels[0] if levels else None
        levels.insert(0, LowerLevel(size, spec.tile_px, encode, file, below))
    return levels


def _finest_tiles(
    spec: SlideSpec, below: LowerLevel | None, encode: Encode, block_px: int
) -> Iterator[bytes]:
    """Draw the field; yield its compressed tiles row by row, pass its rows on to ``below``."""
    drawer = SlideDrawer(plan_slide(spec))
    # Tiles at the right and bottom are drawn whole, beyond the field.
    width, height = (-(-length // spec.tile_px) * spec.tile_px for length in spec.field_px)
    for y in range(0, height, block_px):
        row_height = min(block_px, height - y)
        tiles: list[list[bytes]] = [[] for _ in range(row_height // spec.tile_px)]
        reduced = []
        for box in boxes_of_row(y, row_height, width=width, block_px=block_px):
            pixels = drawer.draw(box)
            reduced.append(reduce(pixels))
            for number, tile in enumerate(tiles_of(pixels, spec.tile_px)):
                tiles[number // (box.width // spec.tile_px)].append(encode(tile))
        if below is not None:
            below.push(np.concatenate(reduced, axis=1)[:, : spec.field_px[0] // FACTOR])
        for row in tiles:
            yield from row

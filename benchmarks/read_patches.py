"""Compare the processor time of reading all patches of a slide, by several readers.

    python benchmarks/read_patches.py --width 20000 --height 20000
    python benchmarks/read_patches.py --slide case.svs

Reads every whole patch of level 0, row by row, one process, one thread, warm file cache; the
readers take turns, several times. Prints medians per patch: OpenSlide patch by patch with its
cache, OpenSlide by blocks that are then cut up, TIAToolbox where it is installed, Lamella's three
ways, and the floor: every tile that the patches touch decoded once, and nothing else.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import openslide

from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.errors import SlideUnreadableError
from lamella.slides.open import open_source
from lamella.slides.settings import ReaderName
from lamella.slides.tile_source import TileSource

BATCH_PATCHES = 64
BLOCK_PX = 2048

Size = tuple[int, int]
Work = Callable[[], object]


def corners(size: Size, patch_px: int) -> list[tuple[int, int]]:
    width, height = size
    return [
        (x, y)
        for y in range(0, height - patch_px + 1, patch_px)
        for x in range(0, width - patch_px + 1, patch_px)
    ]


def openslide_patches(path: Path, patch_px: int) -> None:
    with openslide.OpenSlide(path) as slide:
        for corner in corners(slide.dimensions, patch_px):
            np.asarray(slide.read_region(corner, 0, (patch_px, patch_px)).convert("RGB"))


def openslide_blocks(path: Path, patch_px: int) -> None:
    """Read blocks of a whole number of patches, and copy the patches out of them."""
    block_px = max(BLOCK_PX // patch_px, 1) * patch_px
    with openslide.OpenSlide(path) as slide:
        width, height = (length // patch_px * patch_px for length in slide.dimensions)
        for y in range(0, height, block_px):
            for x in range(0, width, block_px):
                size = (min(block_px, width - x), min(block_px, height - y))
                block = np.asarray(slide.read_region((x, y), 0, size).convert("RGB"))
                for left, top in corners(size, patch_px):
                    block[top : top + patch_px, left : left + patch_px].copy()


def tiatoolbox_patches(path: Path, patch_px: int) -> None:
    from tiatoolbox.wsicore.wsireader import WSIReader

    reader = WSIReader.open(path)
    for corner in corners(reader.slide_dimensions(0, "level"), patch_px):
        reader.read_rect(corner, (patch_px, patch_px), resolution=0, units="level")


def ours(path: Path, patch_px: int, reader: ReaderName) -> None:
    """Read batch after batch into one array, as ``extract_patches`` does."""
    source = open_source(path, reader)
    batch = np.empty((BATCH_PATCHES, patch_px, patch_px, 3), dtype=np.uint8)
    for number, (x, y) in enumerate(corners(source.level_sizes[0], patch_px)):
        source.read_into(batch[number % BATCH_PATCHES], x, y, 0)
    source.close()


def touched_tiles(path: Path, patch_px: int) -> tuple[list[bytes], tuple[int, int, int]]:
    """Return the tiles below the patches as whole JPEG files, and the shape of one."""
    source = open_source(path, ReaderName.TILES)
    assert isinstance(source, TileSource)
    grid = source.tile_grid(0)
    width, height = (length // patch_px * patch_px for length in source.level_sizes[0])
    tiles = [
        source.encoded_tile(0, column, row)
        for row in range(-(-height // grid.height))
        for column in range(-(-width // grid.width))
    ]
    source.close()
    return [tile for tile in tiles if tile], (grid.height, grid.width, 3)


def decode(tiles: list[bytes], shape: tuple[int, int, int]) -> None:
    pixels = np.empty(shape, dtype=np.uint8)
    for tile in tiles:
        imagecodecs.jpeg8_decode(tile, out=pixels)


def ways(path: Path, patch_px: int) -> Iterator[tuple[str, Work]]:
    yield "OpenSlide, patch by patch", lambda: openslide_patches(path, patch_px)
    yield f"OpenSlide, blocks of {BLOCK_PX}", lambda: openslide_blocks(path, patch_px)
    if importlib.util.find_spec("tiatoolbox"):
        yield "TIAToolbox", lambda: tiatoolbox_patches(path, patch_px)
    yield "ours, openslide", lambda: ours(path, patch_px, ReaderName.OPENSLIDE)
    try:
        tiles, shape = touched_tiles(path, patch_px)
    except SlideUnreadableError as error:
        print(error)
        return
    yield "ours, tiles", lambda: ours(path, patch_px, ReaderName.TILES)
    yield "floor: decode each tile", lambda: decode(tiles, shape)


def measure(path: Path, patch_px: int, runs: int) -> None:
    with openslide.OpenSlide(path) as slide:
        n, size = len(corners(slide.dimensions, patch_px)), slide.dimensions
    programs = dict(ways(path, patch_px))
    path.read_bytes()
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, work in programs.items():
            began = time.process_time()
            work()
            times[name].append((time.process_time() - began) * 1000 / n)
    print(f"{path.name}: {size[0]} x {size[1]}, {n} patches of {patch_px} px, {runs} turns")
    first = times["OpenSlide, patch by patch"]
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(first, found, strict=True))
        print(
            f"{name:28} {statistics.median(found):.3f} ms of processor time per patch "
            f"({min(found):.3f} to {max(found):.3f}), {ratio:.2f} x less than the first"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=20_000, help="pixels of level 0")
    parser.add_argument("--height", type=int, default=20_000, help="pixels of level 0")
    parser.add_argument("--slide", type=Path, help="a slide file to read instead of a drawn one")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()

    if arguments.slide:
        measure(arguments.slide, arguments.size_px, arguments.runs)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.svs"
        draw_slide(path, SlideSpec(arguments.width * 0.25, arguments.height * 0.25, seed=1))
        measure(path, arguments.size_px, arguments.runs)


if __name__ == "__main__":
    main()

"""One contract for all readers, and the same pixels from those that read the same file."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from lamella.drawing.plan import SlideSpec
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide
from lamella.slides.open import open_source
from lamella.slides.settings import ReaderName
from lamella.slides.source import SlideSource, level_position

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "slides"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no slides")

BOTH = [
    "none.tiff",
    "lzw.tiff",
    "deflate.tiff",
    "old-deflate.tiff",
    "444.tiff",
    "422.tiff",
    "420.tiff",
    "rgb.svs",
    "jpeg2000-rgb.svs",
    "jpeg2000-ycbcr.svs",
    "sparse.tiff",
    "sparse.svs",
    "philips.tiff",
]
REAL = ["cmu-1-small-region.svs", "edge/small.svs", "wsic/CMU-1-Small-Region.jpeg.tiff"]


def read(source: SlideSource, x: int, y: int, level: int, size: tuple[int, int]) -> np.ndarray:
    # What is not filled shows: no reader gives this colour everywhere.
    pixels = np.full((size[1], size[0], 3), 77, dtype=np.uint8)
    source.read_into(pixels, x, y, level)
    return pixels


def regions(source: SlideSource, level: int, n: int = 40) -> list[tuple[int, int, int, int]]:
    """Return ``x, y, width, height``: all corners and sides, wholly outside, and by chance."""
    width, height = source.level_sizes[0]
    factor = source.level_downsamples[level]
    step = round(40 * factor)
    found = [
        (x, y, 97, 61)
        for x in (-step, 0, width // 2, width - step, width + step)
        for y in (-step, 0, height // 2, height - step, height + step)
    ]
    found += [(-9_000, 0, 20, 10), (0, height + 9_000, 20, 10), (0, 0, 1, 1)]
    draw = np.random.default_rng(level)
    corners = draw.integers((-step, -step), (width + step, height + step), (n, 2))
    sizes = draw.integers(1, 200, (n, 2))
    return found + np.concatenate([corners, sizes], axis=1).tolist()


def assert_same(path: Path) -> None:
    ours, theirs = (open_source(path, name) for name in (ReaderName.TILES, ReaderName.OPENSLIDE))
    assert ours.vendor == theirs.vendor
    assert ours.level_sizes == theirs.level_sizes
    assert ours.level_downsamples == pytest.approx(theirs.level_downsamples, rel=1e-12)
    if theirs.mpp == (None, None):
        assert ours.mpp == (None, None)
    else:
        assert ours.mpp == pytest.approx(theirs.mpp, rel=1e-12)
    assert ours.bounds == theirs.bounds
    for level in range(len(ours.level_sizes)):
        for x, y, *size in regions(ours, level):
            expected = read(theirs, x, y, level, size)
            assert np.array_equal(read(ours, x, y, level, size), expected), (level, x, y, size)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("name", BOTH)
def test_tiles_and_openslide_show_the_same(slides, name: str) -> None:
    assert_same(slides.path(name))


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_tiles_and_openslide_show_the_same_on_real_slides(name: str) -> None:
    assert_same(DATA / name)


def test_tiles_and_openslide_show_the_same_on_a_drawn_slide(tmp_path: Path) -> None:
    draw_slide(tmp_path / "ä (1).svs", SlideSpec(300, 220, seed=5))
    assert_same(tmp_path / "ä (1).svs")


def test_whole_jfif_files_in_a_tiff_that_says_rgb_have_their_own_colours(slides) -> None:
    # OpenSlide believes the TIFF and shows luma and chroma as red, green and blue.
    path, x, y = slides.path("jfif-in-rgb.tiff"), 2 * slides.tile, slides.tile
    ours, theirs = (open_source(path, name) for name in (ReaderName.TILES, ReaderName.OPENSLIDE))
    columns = -(-slides.width // slides.tile)
    expected = imagecodecs.jpeg8_decode(slides.encoded_tiles(slides.picture())[columns + 2])
    size = (slides.tile, slides.tile)
    assert np.array_equal(read(ours, x, y, 0, size), expected)
    false_colours = np.asarray(Image.fromarray(expected).convert("YCbCr")).astype(int)
    assert np.abs(read(theirs, x, y, 0, size) - false_colours).mean() < 2
    ours.close()
    theirs.close()


def test_levels_of_broken_downsamples_differ_by_less_than_a_pixel_of_level_0(
    slides, tmp_path: Path
) -> None:
    path = tmp_path / "odd.tiff"
    steep = np.broadcast_to(np.arange(slides.width) // 2, (slides.height, slides.width))
    slides.pyramid(path, np.stack([steep] * 3, axis=2).astype(np.uint8), factors=(1, 3))
    ours, theirs = (open_source(path, name) for name in (ReaderName.TILES, ReaderName.OPENSLIDE))
    factor = ours.level_downsamples[1]
    assert factor == theirs.level_downsamples[1] == pytest.approx(2.997, abs=0.001)
    whole = read(ours, 0, 0, 1, (150, 100))
    assert np.array_equal(read(theirs, 0, 0, 1, (150, 100)), whole)
    for x in range(1, 60):
        left = level_position(x, factor)
        assert np.array_equal(read(ours, x, 0, 1, (50, 50)), whole[:50, left : left + 50])
        # Grey rises by half a level each pixel of level 0.
        near = read(theirs, x, 0, 1, (50, 50)).astype(int)[:, :-1]
        assert np.abs(near - whole[:50, left : left + 49]).max() <= 1
    ours.close()
    theirs.close()


@pytest.fixture(scope="module")
def sources(slides, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SlideSource]]:
    """The same picture in every reader."""
    folder = tmp_path_factory.mktemp("contract")
    Image.fromarray(slides.picture()).save(folder / "a.png")
    tiled = slides.path("none.tiff")
    found = {
        "openslide": open_source(tiled, ReaderName.OPENSLIDE),
        "tiles": open_source(tiled, ReaderName.TILES),
        "image": open_source(folder / "a.png", ReaderName.IMAGE),
    }
    yield found
    for source in found.values():
        source.close()


@pytest.mark.parametrize("name", ["openslide", "tiles", "image"])
def test_every_reader_keeps_the_contract(slides, sources, name: str) -> None:
    source, picture = sources[name], slides.picture()
    assert source.reader.value == name
    assert source.level_sizes[0] == (slides.width, slides.height)
    assert source.level_downsamples[0] == 1.0
    assert source.bounds is None
    assert np.array_equal(read(source, 0, 0, 0, (slides.width, slides.height)), picture)
    assert np.array_equal(read(source, 130, 70, 0, (90, 20)), picture[70:90, 130:220])

    corner = read(source, -30, -20, 0, (50, 60))
    assert np.array_equal(corner[20:, 30:], picture[:40, :20])
    assert (corner[:20] == 255).all()
    assert (corner[:, :30] == 255).all()
    border = read(source, slides.width - 10, slides.height - 5, 0, (20, 30))
    assert np.array_equal(border[:5, :10], picture[-5:, -10:])
    assert (border[5:] == 255).all()
    assert (border[:, 10:] == 255).all()
    for x, y in itertools.product((-500, 0, 900), (-500, 0, 900)):
        if (x, y) != (0, 0):
            assert (read(source, x, y, 0, (30, 20)) == 255).all()


@pytest.mark.parametrize("name", ["openslide", "tiles", "image"])
def test_every_reader_fills_a_part_of_a_larger_array(slides, sources, name: str) -> None:
    batch = np.zeros((3, 40, 90, 3), dtype=np.uint8)
    sources[name].read_into(batch[1, 5:35, 10:80], 60, 50, 0)
    assert np.array_equal(batch[1, 5:35, 10:80], slides.picture()[50:80, 60:130])
    batch[1, 5:35, 10:80] = 0
    assert not batch.any()


@pytest.mark.parametrize("name", ["openslide", "tiles"])
def test_levels_are_read_at_the_nearest_pixel(slides, sources, name: str) -> None:
    level = slides.picture()[::4, ::4]
    for x, left in ((0, 0), (1, 0), (2, 1), (5, 1), (6, 2), (400, 100)):
        found = read(sources[name], x, 42, 2, (10, 12))
        assert np.array_equal(found, level[11:23, left : left + 10]), x


def test_scanned_area_lies_on_the_canvas_where_its_bounds_say(tmp_path: Path) -> None:
    path = tmp_path / "b.scn"
    draw_slide(path, SlideSpec(300, 200, scanner=Scanner.LEICA, seed=5))
    field = tifffile.imread(path, key=0)
    source = open_source(path)
    assert source.reader is ReaderName.OPENSLIDE
    x, y, width, height = source.bounds
    assert (x, y, width, height) == (1024, 512, 600, 400)
    assert source.level_sizes[0] == (1024 + 600 + 256, 512 + 400 + 768)
    assert np.array_equal(read(source, x + 130, y + 70, 0, (90, 50)), field[70:120, 130:220])
    source.close()


def test_closing_frees_the_tiles_and_the_file(slides) -> None:
    source = open_source(slides.path("420.tiff"), ReaderName.TILES)
    read(source, 0, 0, 0, (200, 200))
    assert source._cache.bytes > 0
    source.close()
    assert source._cache.bytes == 0
    assert source._file.closed

"""Damaged tiles are named, tiles are handed out as they are stored, memory stays bounded."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from lamella.errors import SlideUnreadableError
from lamella.slides import tile_source
from lamella.slides.open import open_source
from lamella.slides.settings import ReaderName
from lamella.slides.tile_cache import TileCache
from lamella.slides.tile_source import TileSource


@contextmanager
def opened(path: Path) -> Iterator[TileSource]:
    source = open_source(path, ReaderName.TILES)
    assert isinstance(source, TileSource)
    yield source
    source.close()


def read(source: TileSource, x: int, y: int, size: int, level: int = 0) -> np.ndarray:
    pixels = np.full((size, size, 3), 77, dtype=np.uint8)
    source.read_into(pixels, x, y, level)
    return pixels


def damaged(tile: bytes, how: str) -> bytes:
    middle = len(tile) // 2
    noise = np.random.default_rng(1).integers(0, 256, 400, dtype=np.uint8).tobytes()
    return {
        "noise in the middle": tile[:middle] + noise + tile[middle + 400 :],
        "zeros in the middle": tile[:middle] + bytes(400) + tile[middle + 400 :],
        "cut off": tile[:middle],
        "cut off and padded with zeros": tile[:middle] + bytes(len(tile) - middle),
        "cut off but ended": tile[:middle] + b"\xff\xd9",
        "noise": noise,
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "noise in the middle",
        "zeros in the middle",
        "cut off",
        "cut off and padded with zeros",
        "cut off but ended",
        "noise",
    ],
)
def test_damaged_tile_is_named_and_its_neighbours_are_read(slides, tmp_path: Path, how) -> None:
    tiles = slides.encoded_tiles(slides.picture())
    columns = -(-slides.width // slides.tile)
    number = 2 * columns + 5
    whole = imagecodecs.jpeg8_decode(tiles[number + 1])
    tiles[number] = damaged(tiles[number], how)
    slides.tiles(tmp_path / "a.tiff", tiles)
    with opened(tmp_path / "a.tiff") as source:
        x, y = 5 * slides.tile, 2 * slides.tile
        for _ in range(2):
            with pytest.raises(SlideUnreadableError, match="column 5, row 2 of level 0"):
                read(source, x, y, 20)
        assert np.array_equal(read(source, x + slides.tile, y, 20), whole[:20, :20])


def test_grey_corners_of_sound_tiles_are_no_damage(slides, tmp_path: Path) -> None:
    grey = np.full((slides.height, slides.width, 3), 128, dtype=np.uint8)
    grey[:, ::9] = 20
    tiles = slides.encoded_tiles(grey)
    slides.tiles(tmp_path / "grey.tiff", tiles)
    with opened(tmp_path / "grey.tiff") as source:
        assert np.array_equal(read(source, 0, 0, 64), imagecodecs.jpeg8_decode(tiles[0]))


@pytest.mark.parametrize("name", ["lzw.tiff", "deflate.tiff", "jpeg2000-rgb.svs"])
def test_damaged_tile_of_other_compressions_is_named(slides, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shutil.copy(slides.path(name), path)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.dataoffsets[3]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\x55" * 2000)
    with opened(path) as source, pytest.raises(SlideUnreadableError, match="column 3, row 0"):
        read(source, 3 * slides.tile, 0, 20)


def test_file_that_is_cut_while_it_is_read_is_an_error(slides, tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    shutil.copy(slides.path("none.tiff"), path)
    with opened(path) as source:
        with path.open("r+b") as file:
            file.truncate(70_000)
        with pytest.raises(SlideUnreadableError, match="cut off"):
            read(source, 0, 4 * slides.tile, 20)


@pytest.mark.parametrize("name", ["420.tiff", "444.tiff", "rgb.svs", "jfif-in-rgb.tiff"])
def test_encoded_tiles_show_the_same_in_any_decoder(slides, name: str) -> None:
    with opened(slides.path(name)) as source:
        for level in range(len(source.level_sizes)):
            grid = source.tile_grid(level)
            width, height = source.level_sizes[level]
            assert (grid.width, grid.height, grid.is_jpeg) == (64, 64, True)
            assert (grid.columns, grid.rows) == (-(-width // 64), -(-height // 64))
            column, row = grid.columns - 2, 1
            tile = source.encoded_tile(level, column, row)
            factor = source.level_downsamples[level]
            x, y = (round(at * 64 * factor) for at in (column, row))
            pixels = read(source, x, y, 64, level)[: height - 64 * row]
            shown = np.asarray(Image.open(io.BytesIO(tile)).convert("RGB"))[: height - 64 * row]
            assert np.array_equal(shown, pixels)


def test_encoded_tile_holds_the_compressed_pixels_of_the_file(slides) -> None:
    path = slides.path("rgb.svs")
    with tifffile.TiffFile(path) as tiff, path.open("rb") as file:
        page = tiff.pages.first
        file.seek(page.dataoffsets[9])
        stored = file.read(page.databytecounts[9])
    scan = stored[stored.index(b"\xff\xda") :]
    with opened(path) as source:
        assert source.encoded_tile(0, 1, 1).endswith(scan)


def test_encoded_tile_is_none_where_the_file_has_none_and_an_error_without_jpeg(slides) -> None:
    with opened(slides.path("sparse.tiff")) as source:
        assert source.encoded_tile(0, 3, 0) is None
        assert source.encoded_tile(0, 4, 0) is not None
    with opened(slides.path("lzw.tiff")) as source:
        assert not source.tile_grid(0).is_jpeg
        with pytest.raises(SlideUnreadableError, match="compression is 5, not JPEG"):
            source.encoded_tile(0, 0, 0)


def read_rows(source: TileSource, slides, size: int, *, every: int) -> None:
    """Read regions of a size row by row."""
    for y in range(0, slides.height, every):
        for x in range(0, slides.width, every):
            read(source, x, y, size)


@pytest.fixture
def decoded(monkeypatch) -> list[bytes]:
    """What is decoded by the sources that are opened from now on."""
    found = []

    def noting(level):
        decode = decoder(level)
        return lambda data, out: (found.append(data), decode(data, out))

    decoder = tile_source.decoder
    monkeypatch.setattr(tile_source, "decoder", noting)
    return found


@pytest.mark.parametrize(("edge", "rows"), [(40, 2), (64, 1), (100, 3)])
def test_each_tile_is_decoded_once_row_by_row(slides, decoded, edge: int, rows: int) -> None:
    with opened(slides.path("420.tiff")) as source:
        read_rows(source, slides, edge, every=edge)
        grid = source.tile_grid(0)
        assert len(decoded) == grid.columns * grid.rows
        # As many rows of tiles are kept, of five, as a region touches.
        assert source._cache.bytes <= rows * grid.columns * 64 * 64 * 3


def test_of_regions_of_whole_tiles_none_is_kept_for_the_next(slides, decoded) -> None:
    with opened(slides.path("420.tiff")) as source:
        read_rows(source, slides, 128, every=128)
        grid = source.tile_grid(0)
        assert len(decoded) == grid.columns * grid.rows
        assert source._cache.bytes == 64 * 64 * 3


def test_tiles_are_kept_once_regions_of_whole_tiles_overlap(slides, decoded) -> None:
    with opened(slides.path("420.tiff")) as source:
        read_rows(source, slides, 128, every=64)
        grid = source.tile_grid(0)
        # Of those that the first two rows of regions share two are gone before any is kept.
        assert len(decoded) == grid.columns * grid.rows + 2


def test_cache_keeps_what_was_used_last_and_reuses_the_memory_of_the_rest() -> None:
    cache = TileCache(most_bytes=300)
    cache.grow(1000)
    arrays = {}
    for number in range(3):
        arrays[number] = cache.room((10, 5, 2))
        cache.put((0, number), arrays[number])
    assert cache.bytes == 300
    assert cache.get((0, 0)) is arrays[0]
    assert cache.room((10, 5, 2)) is arrays[1]
    assert cache.get((0, 1)) is None
    assert cache.get((0, 2)) is arrays[2]
    assert cache.bytes == 200
    assert cache.room((20, 5, 2)).shape == (20, 5, 2)

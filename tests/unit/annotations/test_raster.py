"""Painted annotations: exact shares at any scale, and images that do not fit are refused."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from lamella.annotations.frame import Frame
from lamella.annotations.raster import Raster, is_raster, read_pixels, read_raster
from lamella.annotations.read import read_tumor
from lamella.annotations.settings import AnnotationSettings
from lamella.errors import AnnotationError

PAINTED = np.zeros((6, 10), dtype=bool)
PAINTED[1:3, 6:9] = PAINTED[5, 0] = True


def png(folder: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path = folder / "a.png"
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def exact_share(raster: Raster, x: int, y: int, edge: int) -> Fraction:
    """Sum the overlaps of a window with every painted pixel, as fractions."""
    rows, columns = raster.pixels.shape
    frame, total = raster.frame, Fraction(0)
    for row, column in zip(*np.nonzero(raster.pixels), strict=True):
        left = frame.x + Fraction(int(column) * frame.width, columns)
        top = frame.y + Fraction(int(row) * frame.height, rows)
        across = min(left + Fraction(frame.width, columns), x + edge) - max(left, x)
        down = min(top + Fraction(frame.height, rows), y + edge) - max(top, y)
        total += max(across, Fraction(0)) * max(down, Fraction(0))
    return total / edge**2


def test_shares_are_exact_whatever_the_scale() -> None:
    draw = np.random.default_rng(1)
    raster = Raster(draw.random((7, 11)) < 0.4, Frame(5, 3, 107, 71))
    x, y = draw.integers(0, 110, 40), draw.integers(0, 75, 40)
    expected = [float(exact_share(raster, int(a), int(b), 13)) for a, b in zip(x, y, strict=True)]
    assert raster.shares(x, y, 13).tolist() == expected


def test_window_that_is_exactly_half_painted_has_exactly_one_half() -> None:
    pixels = np.zeros((3, 3), dtype=bool)
    pixels[:, 0] = True
    raster = Raster(pixels, Frame(0, 0, 1000, 1000))
    # A pixel is 333 1/3 wide: 250 of 500 lie in a window from 83 1/3 on, which no float can be.
    share = raster.shares(np.array([0, 334, 233]), np.array([7, 7, 7]), 200)
    assert share.tolist() == [1.0, 0.0, float(Fraction(301, 600))]


def test_shares_of_a_huge_slide_do_not_overflow() -> None:
    pixels = np.ones((2000, 2500), dtype=bool)
    raster = Raster(pixels, Frame(0, 0, 200_000, 160_000))
    assert raster.shares(np.array([199_000, 199_900]), np.array([5, 159_900]), 200).tolist() == [
        1.0,
        0.25,
    ]


def test_areas_of_one_raster_share_one_table_that_is_made_without_copies() -> None:
    draw = np.random.default_rng(2)
    raster = Raster(draw.random((2800, 4400)) < 0.5, Frame(0, 0, 11_000, 7_000))
    x = np.array([0, 4321])
    # It counts what other threads allocate, too: the table is large, and the limits are wide.
    tracemalloc.start()
    raster.shares(x, x, 512)
    _, first = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    held, _ = tracemalloc.get_traced_memory()
    raster.areas(x, x, 256)
    _, second = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Counts of 32 bits, and no copy of them.
    assert first < 1.5 * 4 * raster.pixels.size
    assert second - held < raster.pixels.size


def test_a_large_image_is_read_with_no_second_copy_of_its_channels(tmp_path: Path) -> None:
    pixels = np.zeros((3000, 4000, 3), dtype=np.uint8)
    pixels[100:1900, 3000:] = (0, 0, 7)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", compression="deflate", rowsperstrip=64)
    read_pixels(path)
    tracemalloc.start()
    painted = read_pixels(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(painted, pixels[:, :, 2] == 7)
    # Five, and three more for each copy; other threads may allocate something, too.
    assert peak < 7.5 * painted.size


@pytest.mark.parametrize(
    "pixels",
    [
        PAINTED,
        PAINTED.astype(np.uint8),
        PAINTED.astype(np.uint8) * 255,
        PAINTED.astype(np.uint16) * 300,
        np.stack([PAINTED * 0, PAINTED * 200, PAINTED * 0], axis=2).astype(np.uint8),
        np.dstack([PAINTED * 200] * 3 + [PAINTED * 0 + 255]).astype(np.uint8),
        np.dstack([PAINTED * 200, PAINTED * 0 + 255]).astype(np.uint8),
    ],
    ids=["1", "label", "grey", "16", "rgb", "rgba", "grey-alpha"],
)
def test_what_is_not_zero_is_painted(tmp_path: Path, pixels: np.ndarray) -> None:
    assert np.array_equal(read_pixels(png(tmp_path, pixels)), PAINTED)
    if pixels.dtype != bool and pixels.shape[2:] != (2,):
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression="deflate")
        assert np.array_equal(read_pixels(tmp_path / "a.tif"), PAINTED)


def test_of_a_palette_the_numbers_count(tmp_path: Path) -> None:
    image = Image.fromarray(PAINTED.astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_pixels(tmp_path / "a.png"), PAINTED)


def test_of_a_pyramid_the_finest_level_that_is_not_too_large_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        big = np.kron(PAINTED.astype(np.uint8), np.ones((64, 64), dtype=np.uint8))
        file.write(big, subifds=1, tile=(64, 64))
        file.write(big[::4, ::4], subfiletype=1, tile=(64, 64))
    assert read_pixels(path).shape == (384, 640)
    monkeypatch.setattr("lamella.annotations.raster.MOST_PIXELS", 20_000)
    assert np.array_equal(read_pixels(path), big[::4, ::4] > 0)
    monkeypatch.setattr("lamella.annotations.raster.MOST_PIXELS", 2_000)
    with pytest.raises(AnnotationError, match="more than"):
        read_pixels(path)


def test_too_large_and_damaged_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = png(tmp_path, np.random.default_rng(0).integers(0, 9, (90, 80)).astype(np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AnnotationError, match="image cannot be read"):
        read_pixels(path)
    path.write_bytes(whole)
    monkeypatch.setattr("lamella.annotations.raster.MOST_PIXELS", 7_000)
    with pytest.raises(AnnotationError, match="Save it smaller"):
        read_pixels(path)


@pytest.mark.parametrize(
    ("width", "height", "fits"),
    [(1000, 600, True), (1049, 600, True), (600, 1000, False), (1000, 720, False)],
)
def test_image_must_have_the_aspect_ratio_of_the_slide_to_one_pixel(
    tmp_path: Path, width: int, height: int, fits: bool
) -> None:
    path = png(tmp_path, PAINTED)
    if fits:
        assert read_raster(path, Frame(0, 0, width, height)).frame.width == width
    else:
        with pytest.raises(AnnotationError, match="has not the aspect ratio"):
            read_raster(path, Frame(0, 0, width, height))


def test_painted_tumour_is_read_by_content_not_by_name(tmp_path: Path) -> None:
    path = png(tmp_path, PAINTED).rename(tmp_path / "tumour.xml")
    assert is_raster(path)
    tumor = read_tumor(path, AnnotationSettings(), frame=Frame(100, 0, 1000, 600))
    assert not tumor.is_empty
    assert tumor.shares(np.array([700, 100]), np.array([100, 500]), 200).tolist() == [1.0, 0.25]
    nothing = read_tumor(
        png(tmp_path, PAINTED & False), AnnotationSettings(), frame=Frame(0, 0, 1000, 600)
    )
    assert nothing.is_empty

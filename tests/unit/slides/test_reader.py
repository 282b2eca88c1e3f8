"""Pixels come from where they are asked for, on slides of two vendors."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lamella.drawing.plan import SlideSpec
from lamella.drawing.settings import Scanner
from lamella.drawing.slide import draw_slide
from lamella.errors import ResolutionUnknownError, SlideUnreadableError
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.units import Level0Pixels

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "slides"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no slides")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[Scanner, Path]:
    folder = tmp_path_factory.mktemp("drawn slides")
    paths = {Scanner.APERIO: folder / "ä (1).svs", Scanner.LEICA: folder / "b.scn"}
    for scanner, path in paths.items():
        draw_slide(path, SlideSpec(400, 300, scanner=scanner, seed=5))
    return paths


def stripes(path: Path, *, width: int, height: int, mpp: float) -> Path:
    """Write a slide whose red tells x and whose green tells y, in steps of 32 pixels."""
    x = np.arange(width) // 32 * 8
    y = np.arange(height) // 32 * 8
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = x[None, :], y[:, None]
    with tifffile.TiffWriter(path) as tiff:
        resolution = (10_000 / mpp, 10_000 / mpp)
        tiff.write(
            image,
            tile=(64, 64),
            photometric="rgb",
            resolution=resolution,
            resolutionunit="CENTIMETER",
        )
    return path


def test_x_is_across_and_y_is_down(tmp_path: Path) -> None:
    path = stripes(tmp_path / "a.tiff", width=600, height=400, mpp=0.5)
    with SlideReader(path, DEFAULT_READING) as reader:
        plan = reader.plan(mpp=0.5, size_px=32)
        patch = reader.read_patch(320, 96, plan)
    assert patch.shape == (32, 32, 3)
    assert (patch[..., 0] == 80).all()
    assert (patch[..., 1] == 24).all()


def test_coarser_patches_show_the_same_place(tmp_path: Path) -> None:
    path = stripes(tmp_path / "a.tiff", width=640, height=448, mpp=0.5)
    with SlideReader(path, DEFAULT_READING) as reader:
        plan = reader.plan(mpp=1.0, size_px=32)
        patch = reader.read_patch(128, 64, plan)
    assert (plan.read_px, plan.edge_l0) == (64, 64)
    assert patch[16, 5].tolist() == [32, patch[16, 5, 1], 0]
    assert patch[5, 27].tolist()[:2] == [40, 16]


def test_overview_is_the_mean_of_its_cells(tmp_path: Path) -> None:
    path = stripes(tmp_path / "a.tiff", width=600, height=400, mpp=0.5)
    with SlideReader(path, DEFAULT_READING) as reader:
        overview = reader.read_overview(Level0Pixels(32))
    assert overview.shape == (13, 19, 3)
    assert overview[3, 10].tolist() == [80, 24, 0]
    # The last row has 16 of 32 pixels; the rest is background, white.
    assert overview[12, 0, 2] == pytest.approx(128, abs=1)


@pytest.mark.parametrize("fewest", [1, 2, 3, 5, 1000])
def test_overview_is_the_same_in_any_number_of_bands(
    drawn: dict[Scanner, Path], fewest: int
) -> None:
    cell = Level0Pixels(7)
    for path in drawn.values():
        with SlideReader(path, DEFAULT_READING) as reader:
            whole = reader.read_overview(cell)
            bands = reader.overview_bands(cell, fewest=fewest)
            parts = np.concatenate([reader.read_overview_band(cell, band) for band in bands])
        assert len(bands) >= min(fewest, len(whole))
        assert [row for band in bands for row in band] == list(range(len(whole)))
        np.testing.assert_allclose(parts.astype(int), whole.astype(int), atol=1)


def test_scanned_area_keeps_its_offset_on_the_canvas(drawn: dict[Scanner, Path]) -> None:
    with SlideReader(drawn[Scanner.LEICA], DEFAULT_READING) as reader:
        assert reader.vendor == "leica"
        assert reader.mpp_l0 == pytest.approx(0.5)
        bounds = reader.bounds
        assert bounds is not None
        x, y, width, height = bounds
        assert (x, y, width, height) == (1024, 512, 800, 600)
        plan = reader.plan(mpp=0.5, size_px=64)
        inside = reader.read_patch(x, y, plan)
        assert (reader.read_patch(x - 64, y, plan) == 255).all()
        assert (reader.read_patch(x, y - 64, plan) == 255).all()
    assert inside.std() > 0


def test_both_scanners_show_the_same_tissue_in_the_same_place(drawn: dict[Scanner, Path]) -> None:
    dark = []
    for path in drawn.values():
        with SlideReader(path, DEFAULT_READING) as reader:
            x, y, _, _ = reader.bounds or (0, 0, 0, 0)
            plan = reader.plan(mpp=2.0, size_px=32)
            rows = [
                [
                    reader.read_patch(x + i * plan.edge_l0, y + j * plan.edge_l0, plan).mean()
                    for i in range(6)
                ]
                for j in range(4)
            ]
            dark.append(np.array(rows).ravel())
    assert np.corrcoef(dark)[0, 1] > 0.9


def test_table_overrides_the_resolution_of_the_file(drawn: dict[Scanner, Path]) -> None:
    with SlideReader(drawn[Scanner.APERIO], DEFAULT_READING, mpp=0.33) as reader:
        assert (reader.mpp_l0, reader.mpp_source) == (0.33, "table")
    with SlideReader(drawn[Scanner.APERIO], DEFAULT_READING) as reader:
        assert (reader.mpp_l0, reader.mpp_source) == (0.25, "file")


def test_noise_and_missing_files_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "noise.svs").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(SlideUnreadableError, match="no reader knows this format"):
        SlideReader(tmp_path / "noise.svs", DEFAULT_READING)
    with pytest.raises(SlideUnreadableError):
        SlideReader(tmp_path / "none.svs", DEFAULT_READING)


@needs_data
@pytest.mark.parametrize("name", ["edge/boxes.tiff", "wsic/CMU-1-Small-Region.jpeg.tiff"])
def test_implausible_resolution_of_real_files_is_refused(name: str) -> None:
    with (
        SlideReader(DATA / name, DEFAULT_READING) as reader,
        pytest.raises(ResolutionUnknownError, match="implaus"),
    ):
        _ = reader.mpp_l0


@needs_data
def test_truncated_slide_is_refused(tmp_path: Path) -> None:
    whole = (DATA / "cmu-1-small-region.svs").read_bytes()
    path = tmp_path / "cut.svs"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlideUnreadableError), SlideReader(path, DEFAULT_READING) as reader:
        reader.read_overview(Level0Pixels(16))

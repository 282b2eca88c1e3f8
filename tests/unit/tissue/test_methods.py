"""Tissue is found where it is, by every method, and nowhere on blank glass."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.morphology import disk

from lamella.drawing.settings import Scanner
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.methods import distance_tissue, find_tissue
from lamella.tissue.settings import TissueMethod, TissueSettings
from lamella.units import Level0Pixels

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA is absent")
FOUND = [method for method in TissueMethod if method is not TissueMethod.MASK]


def found_in(overview: np.ndarray, cell_um: float = 8.0, **settings: object) -> np.ndarray:
    usable = np.ones(overview.shape[:2], dtype=bool)
    return find_tissue(overview, cell_um, TissueSettings(**settings), usable=usable)


def pink_block() -> np.ndarray:
    image = np.full((60, 90, 3), 240, dtype=np.uint8)
    image[10:40, 50:80] = (180, 90, 160)
    return image


@pytest.mark.parametrize("method", FOUND)
def test_holes_are_filled_and_dust_is_left_out(method: TissueMethod) -> None:
    image = pink_block()
    image[18:27, 60:69] = 240
    image[50:53, 5:8] = (150, 60, 120)
    found = found_in(image, method=method, dilate_um=0, min_area_um2=1000, max_hole_um2=6000)
    expected = np.zeros((60, 90), dtype=bool)
    expected[10:40, 50:80] = True
    corners = found ^ expected
    # The median of saturation and the round closing of distance wear off the corners.
    assert corners.sum() <= {"otsu": 0, "saturation": 24, "distance": 0}[method]
    assert not found[45:].any()
    assert found[18:27, 60:69].all()


def test_glass_that_reaches_the_border_is_no_hole_however_small_the_slide() -> None:
    image = pink_block()
    found = found_in(image[10:40, 40:], dilate_um=0, min_area_um2=0, max_hole_um2=1e9)
    assert found.sum() == 30 * 30


@pytest.mark.parametrize("method", FOUND)
def test_blank_glass_has_no_tissue_though_it_is_noisy(method: TissueMethod) -> None:
    noise = np.random.default_rng(4).normal((238, 236, 240), 2.0, (200, 300, 3))
    assert not found_in(noise.round().astype(np.uint8), method=method).any()
    assert not found_in(np.full((9, 5, 3), 255, np.uint8), method=method).any()


@needs_data
@pytest.mark.parametrize("method", FOUND)
@pytest.mark.parametrize("name", ["almost-white-1.png", "no-tissue2.png"])
def test_real_glass_has_no_tissue(method: TissueMethod, name: str) -> None:
    image = Image.open(DATA / "patches/histolab" / name).convert("RGB").reduce(4)
    assert not found_in(np.asarray(image), 2.0, method=method).any()


def test_distance_closes_gaps_of_eight_pixels_and_not_of_ten_also_at_the_border() -> None:
    image = np.full((40, 60, 3), 255, dtype=np.uint8)
    image[:, :20] = image[:, 28:36] = image[:, 46:] = (255 - 50, 255 - 50, 255 - 50)
    found = found_in(image, 1.0, method="distance", max_hole_um2=0, min_area_um2=0)
    assert found[:, 20:28].all()
    assert not found[:, 36:46].any()
    assert found[:, 28:36].all()


def test_distance_begins_above_85() -> None:
    image = np.full((30, 40, 3), 255, dtype=np.uint8)
    image[:, 5:12, 0] = 255 - 85
    image[:, 30:, 0] = 255 - 86
    found = found_in(image, 1.0, method="distance", min_area_um2=0)
    assert found[0].tolist() == [column >= 30 for column in range(40)]


def test_distance_is_what_a_closing_by_another_library_gives() -> None:
    image = np.random.default_rng(0).integers(150, 256, (90, 70, 3), dtype=np.uint8)
    image[np.random.default_rng(1).random((90, 70)) < 0.98] = 255
    far = np.square(255.0 - image).sum(axis=2) > 85**2
    grown = ndimage.binary_dilation(far, disk(4))
    closed = ndimage.binary_erosion(grown, disk(4), border_value=1)
    assert 0 < far.sum() < closed.sum() < closed.size
    np.testing.assert_array_equal(distance_tissue(image, np.ones_like(far)), closed)


@pytest.mark.parametrize("radius", [0, 1, 2, 7])
def test_tissue_is_dilated_by_a_disk(radius: int) -> None:
    image = np.full((60, 50, 3), 245, dtype=np.uint8)
    image[20:31, 10:22] = image[50:, 45:] = (180, 90, 150)
    tissue = (image < 245).any(axis=2)
    found = found_in(image, 1.0, method="otsu", dilate_um=float(radius), min_area_um2=0)
    expected = ndimage.binary_dilation(tissue, disk(radius))
    np.testing.assert_array_equal(found, expected)


def test_ink_left_out_neither_shifts_the_threshold_nor_is_filled_as_a_hole() -> None:
    image = pink_block()
    image[10:40, 50:80] = (215, 170, 200)
    image[:, 3:40] = 12
    image[20:30, 60:66] = 12
    usable = image.max(axis=2) > 12
    settings = TissueSettings(dilate_um=8.0, min_area_um2=0)
    found = find_tissue(image, 8.0, settings, usable=usable)
    assert not found[~usable].any()
    assert found[10:40, 50:80][usable[10:40, 50:80]].all()
    assert not find_tissue(image, 8.0, settings, usable=np.ones_like(usable))[15, 55]


def test_glass_beside_a_part_that_was_not_scanned_is_no_tissue() -> None:
    image = pink_block()
    image[10:40, 50:80] = 240
    image[:, :40] = 255
    usable = image.min(axis=2) < 255
    assert not find_tissue(image, 8.0, TissueSettings(), usable=usable).any()
    image[20:28, 60:66] = (180, 90, 160)
    found = find_tissue(image, 8.0, TissueSettings(dilate_um=0, min_area_um2=0), usable=usable)
    assert found.sum() == 8 * 6


@pytest.mark.parametrize(
    ("method", "least"), [("otsu", 0.90), ("saturation", 0.90), ("distance", 0.98)]
)
@pytest.mark.parametrize("scanner", list(Scanner))
def test_tissue_of_a_drawn_slide_is_found(drawn, agreement, scanner, method, least) -> None:
    slide = drawn(scanner, 1, blur=True)
    _, recall, overlap = agreement(found_in(slide.overview, method=method), slide.tissue())
    assert recall >= 0.99
    assert overlap >= least


@pytest.mark.parametrize("method", ["otsu", "saturation"])
def test_without_dilation_the_drawn_truth_is_met_closely(drawn, agreement, method) -> None:
    slide = drawn(Scanner.LEICA, 1, blur=True)
    found = found_in(slide.overview, method=method, dilate_um=0)
    assert agreement(found, slide.tissue())[2] >= 0.97


@needs_data
def test_default_agrees_with_an_independent_reference() -> None:
    folder = DATA / "slides"
    reference = np.load(folder / "reference_masks/tissue-mask-cmu-1-small-region.npy")
    with SlideReader(folder / "cmu-1-small-region.svs", DEFAULT_READING) as reader:
        cell_l0 = Level0Pixels(round(8.0 / reader.mpp_l0))
        mask = found_in(reader.read_overview(cell_l0), cell_l0 * reader.mpp_l0)
    height, width = reference.shape
    found = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    assert (found & reference).sum() / (found | reference).sum() >= 0.95

"""What is out of focus is found, and pale, plain or sharp tissue is not."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lamella.drawing.settings import Scanner
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.focus import blurred_tissue, out_of_focus
from lamella.tissue.mask import TissueMask

DATA = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "patches"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="LAMELLA_TEST_DATA has no patches")


def blur_of(slide, tissue: np.ndarray, most_blocks: int | None = None):
    with SlideReader(slide.path, DEFAULT_READING) as reader:
        mask = TissueMask(tissue, slide.cell_l0)
        return blurred_tissue(reader, mask, most_blocks=most_blocks)


@pytest.mark.parametrize("scanner", list(Scanner))
def test_the_blurred_disc_of_a_drawn_slide_is_found_and_nothing_else(
    drawn, agreement, scanner
) -> None:
    slide = drawn(scanner, 1, blur=True)
    focus = blur_of(slide, slide.tissue())
    precision, recall, _ = agreement(focus.blurred, slide.out_of_focus())
    assert precision >= 0.99
    # The disc fades out over 30 µm, and squares of 64 µm are judged as a whole.
    assert recall >= 0.65
    assert focus.seen.sum() >= 0.7 * slide.tissue().sum()
    assert not (focus.blurred & ~focus.seen).any()


def test_a_slide_in_focus_has_no_blur_not_even_at_its_border(drawn) -> None:
    slide = drawn(Scanner.APERIO, 3, fold=True)
    assert not blur_of(slide, ndimage.binary_dilation(slide.tissue(), iterations=5)).blurred.any()


def test_few_blocks_are_spread_evenly_and_tell_the_same(drawn) -> None:
    slide = drawn(Scanner.APERIO, 1, blur=True)
    everything, some = blur_of(slide, slide.tissue()), blur_of(slide, slide.tissue(), 4)
    assert 0 < some.seen.sum() < everything.seen.sum()
    assert np.array_equal(some.blurred, everything.blurred & some.seen)
    assert np.ptp(np.nonzero(some.seen)[0]) > 0.5 * np.ptp(np.nonzero(everything.seen)[0])


def test_without_tissue_nothing_is_read(drawn) -> None:
    slide = drawn(Scanner.LEICA, 1, blur=True)
    assert not blur_of(slide, np.zeros_like(slide.tissue())).seen.any()


@needs_data
@pytest.mark.parametrize(
    ("name", "reduced"),
    [
        ("macenko/example1.png", 2),
        ("camelyon17_centres/centre_0_patient_006_node_1.jpeg", 4),
        ("camelyon17_centres/centre_1_patient_024_node_2.jpeg", 4),
        ("camelyon17_centres/centre_2_patient_056_node_1.jpeg", 4),
    ],
)
def test_real_tissue_is_in_focus_until_it_is_blurred(name: str, reduced: int) -> None:
    image = np.asarray(Image.open(DATA / name).convert("L").reduce(reduced))
    assert not out_of_focus(image).any()
    assert out_of_focus(ndimage.gaussian_filter(image, 2.5)).mean() >= 0.99


def test_plain_and_pale_squares_are_not_out_of_focus() -> None:
    plain = np.full((64, 128), 200, dtype=np.uint8)
    plain[:, 64:] += np.random.default_rng(0).integers(0, 8, (64, 64)).astype(np.uint8)
    assert out_of_focus(plain).tolist() == [[False, False]]


def test_squares_stand_where_they_are() -> None:
    image = np.tile(100 + 80 * np.sin(np.arange(192) / 9), (128, 1))
    noise = np.random.default_rng(0).normal(0, 15, image.shape)
    noise[64:, 128:] = 0
    found = out_of_focus((image + noise).clip(0, 255).astype(np.uint8))
    assert found.tolist() == [[False] * 3, [False, False, True]]

"""Bands of rows give what the whole image gives."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from lamella.drawing.settings import Scanner
from lamella.tissue import artefacts
from lamella.tissue.bands import in_bands


@pytest.mark.parametrize("band_px", [1, 90, 1000, 10**9])
def test_rows_at_the_border_of_a_band_see_their_neighbours(band_px: int) -> None:
    draw = np.random.default_rng(0)
    image, other = draw.random((2, 37, 30))
    found = in_bands(
        lambda a, b: ndimage.uniform_filter(a, 5) + b, image, other, halo=2, band_px=band_px
    )
    assert np.allclose(found, ndimage.uniform_filter(image, 5) + other)


def test_artefacts_do_not_depend_on_the_bands(drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = drawn(Scanner.APERIO, 1, fold=True)
    image, tissue = slide.overview.copy(), slide.tissue()
    image[70:95, 100:130] = 0
    image[60:110, 20:26] = (20, 90, 60)

    def found() -> list[np.ndarray]:
        pens, gaps = artefacts.pen_marks(image, 8.0), artefacts.scanning_gaps(image)
        return [pens, gaps, artefacts.folds(image, tissue, 8.0)]

    whole = found()
    assert all(area.any() for area in whole)
    monkeypatch.setattr(artefacts, "in_bands", partial(in_bands, band_px=3000))
    assert all(np.array_equal(a, b) for a, b in zip(found(), whole, strict=True))

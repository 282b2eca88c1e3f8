from dataclasses import replace

import numpy as np
import pytest
import shapely

from lamella.drawing.blocks import Box, SlideDrawer
from lamella.drawing.cells import nuclei_within
from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.settings import Scanner

PLAIN = SlideSpec(800.0, 560.0, scanner=Scanner.LEICA, seed=5)
WHOLE = Box(0, 0, 1600, 1120)


def drawn(spec, box=WHOLE):
    return SlideDrawer(plan_slide(spec)).draw(box).astype(int)


@pytest.fixture(scope="module")
def plain():
    return drawn(PLAIN)


def offsets_um(spec):
    """Return the places of all pixels in microns, (height * width, 2)."""
    y, x = np.mgrid[: WHOLE.height, : WHOLE.width] * spec.model.mpp
    return np.stack([x.ravel(), y.ravel()], axis=1)


@pytest.mark.parametrize("scanner", list(Scanner))
@pytest.mark.parametrize(
    "part",
    [
        Box(0, 0, 64, 300),
        Box(331, 207, 411, 173),
        Box(701, 40, 257, 129),
        Box(-40, -9, 90, 700),
    ],
)
def test_a_block_shows_the_same_pixels_as_a_larger_one(scanner, part):
    spec = replace(PLAIN, scanner=scanner, pen=True, fold=True, blur=True)
    around = Box(-40, -20, 1040, 760)
    whole = drawn(spec, around)
    y, x = part.y - around.y, part.x - around.x
    expected = whole[y : y + part.height, x : x + part.width]
    assert np.array_equal(drawn(spec, part), expected)


def test_nuclei_that_cross_the_border_of_a_cell_are_drawn_whole(plain):
    tumor = plan_slide(PLAIN).tumors[0]
    columns = range(int(tumor[:, 0].min() // 128) + 1, int(tumor[:, 0].max() // 128) + 1)
    assert columns
    for column in columns:
        x = round(column * 128 / 0.5)
        assert np.array_equal(drawn(PLAIN, Box(x, 0, 64, 1120)), plain[:, x : x + 64])


def test_glass_is_pale_and_grey_and_noisy(plain):
    glass = plain[:100, 1400:]
    assert glass.min() > 220
    assert np.ptp(glass.mean(axis=(0, 1))) < 10
    assert 2 < glass.std(axis=(0, 1)).min() < 5


def test_tissue_is_pink(plain):
    centre = plain[550:750, 350:500].reshape(-1, 3).mean(axis=0)
    red, green, blue = centre
    assert red > blue > green
    assert red - green > 30


def test_a_nucleus_is_darker_than_what_is_around_it(plain):
    nuclei = nuclei_within(plan_slide(PLAIN), np.zeros(2), np.array([800.0, 560.0]))
    x, y = np.rint(nuclei.centres_um / 0.5).astype(int).T
    assert len(x) > 300
    assert np.median(plain[y, x, 0]) < 0.7 * np.median(plain[y, x + 30, 0])


def test_ink_covers_what_lies_under_a_pen_mark_and_nothing_else(plain):
    spec = replace(PLAIN, pen=True)
    pen = plan_slide(spec).pen
    inked = drawn(spec)
    changed = (inked != plain).any(axis=2)
    x, y = np.rint(pen.line[6] / 0.5).astype(int)
    expected = 0.25 * plain[y, x] + 0.75 * np.array(pen.ink)
    assert np.abs(inked[y, x] - expected).max() <= 2
    places = shapely.points(offsets_um(spec)[changed.ravel()])
    distances = shapely.distance(shapely.LineString(pen.line), places)
    assert distances.max() < pen.half_width_um + 8
    assert np.percentile(distances, 90) > 0.8 * pen.half_width_um


def test_a_fold_darkens_tissue_and_not_glass(plain):
    spec = replace(PLAIN, fold=True)
    folded = drawn(spec)
    x, y = np.rint(plan_slide(spec).fold.line[6] / 0.5).astype(int)
    on_fold = np.s_[y - 15 : y + 15, x - 15 : x + 15]
    assert folded[on_fold].mean() < 0.85 * plain[on_fold].mean()
    assert (folded <= plain).all()
    assert np.array_equal(folded[:100, 1400:], plain[:100, 1400:])


def test_a_part_out_of_focus_has_no_fine_detail(plain):
    spec = replace(PLAIN, blur=True)
    disc = plan_slide(spec).blur
    blurred = drawn(spec)
    x, y = np.rint(disc.centre / 0.5).astype(int)
    inside = np.s_[y - 60 : y + 60, x - 60 : x + 60, 1]
    # Means of two by two microns: the sensor's noise, which stays, does not count.
    sharp, soft = (p[inside].reshape(30, 4, 30, 4).mean(axis=(1, 3)) for p in (plain, blurred))
    assert np.abs(np.diff(soft, axis=0)).mean() < 0.6 * np.abs(np.diff(sharp, axis=0)).mean()
    assert soft.mean() == pytest.approx(sharp.mean(), rel=0.02)
    changed = offsets_um(spec)[(blurred != plain).any(axis=2).ravel()]
    assert np.hypot(*(changed - disc.centre).T).max() < disc.radius_um

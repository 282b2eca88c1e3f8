from dataclasses import replace

import numpy as np
import pytest
import shapely

from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.settings import Scanner

SPEC = SlideSpec(2000.0, 1500.0, seed=11)


@pytest.mark.parametrize("seed", range(8))
def test_tumours_lie_in_the_tissue_apart_and_the_first_holds_the_exclusion(seed):
    plan = plan_slide(replace(SPEC, seed=seed))
    tissue = shapely.Polygon(plan.tissue)
    tumors = [shapely.Polygon(tumor) for tumor in plan.tumors]
    assert 1 <= len(tumors) <= 3
    assert all(tissue.contains(tumor) for tumor in tumors)
    assert not any(tumors[0].intersects(other) for other in tumors[1:])
    assert tumors[0].contains(shapely.Polygon(plan.exclusions[0]))
    assert shapely.box(0, 0, 2000, 1500).contains(tissue)


def test_tissue_lies_left_of_and_below_the_middle():
    centroid = shapely.Polygon(plan_slide(SPEC).tissue).centroid
    assert centroid.x < 1000
    assert centroid.y > 750


def test_both_scanners_see_the_same_field():
    aperio, leica = (plan_slide(replace(SPEC, scanner=scanner)) for scanner in Scanner)
    assert np.array_equal(aperio.tissue, leica.tissue)
    assert np.array_equal(aperio.tumors[0], leica.tumors[0])
    assert aperio.spec.field_px == (8000, 6000)
    assert leica.spec.field_px == (4000, 3000)


def test_level0_points_hold_the_offset_of_the_field():
    point = np.array([[100.0, 60.0]])
    aperio, leica = (plan_slide(replace(SPEC, scanner=scanner)) for scanner in Scanner)
    assert aperio.level0(point).tolist() == [[400.0, 240.0]]
    assert leica.level0(point).tolist() == [[1024.0 + 200.0, 512.0 + 120.0]]


def test_a_slide_shows_only_what_was_asked_for():
    plain = plan_slide(replace(SPEC, tumor=False))
    assert (plain.tumors, plain.exclusions) == ((), ())
    assert (plain.pen, plain.fold, plain.blur) == (None, None, None)
    full = plan_slide(replace(SPEC, pen=True, fold=True, blur=True))
    assert full.pen is not None
    assert full.fold is not None
    assert full.blur is not None
    assert np.array_equal(plain.tissue, full.tissue)


def test_every_part_of_the_spec_changes_the_fingerprint():
    others = [
        replace(SPEC, width_um=1999.0),
        replace(SPEC, height_um=1499.0),
        replace(SPEC, scanner=Scanner.LEICA),
        replace(SPEC, seed=12),
        replace(SPEC, tumor=False),
        replace(SPEC, pen=True),
        replace(SPEC, fold=True),
        replace(SPEC, blur=True),
        replace(SPEC, tile_px=512),
        replace(SPEC, jpeg_quality=90),
    ]
    assert len({SPEC.fingerprint, *(spec.fingerprint for spec in others)}) == 11
    assert SPEC.fingerprint == replace(SPEC).fingerprint

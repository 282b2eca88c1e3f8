from dataclasses import replace

import numpy as np
import pytest
import shapely

from lamella.drawing.cells import (
    STROMA_PER_MM2,
    TUMOR_PER_MM2,
    CellGrid,
    cells_between,
    nuclei_within,
)
from lamella.drawing.plan import SlideSpec, plan_slide
from lamella.drawing.stamps import EPITHELIUM, GLANDS, NUCLEI, STROMA, TUMOR

SPEC = SlideSpec(3000.0, 2000.0, seed=2)
FIELD = (np.zeros(2), np.array([3000.0, 2000.0]))


@pytest.fixture(scope="module")
def plan():
    return plan_slide(SPEC)


@pytest.fixture(scope="module")
def nuclei(plan):
    return nuclei_within(plan, *FIELD)


def of_kind(nuclei, kind):
    return nuclei.centres_um[np.isin(nuclei.shapes, kind)]


def region_of(plan):
    tumors = shapely.union_all([shapely.Polygon(tumor) for tumor in plan.tumors])
    holes = shapely.union_all([shapely.Polygon(hole) for hole in plan.exclusions])
    return tumors.difference(holes)


def test_tumour_nuclei_fill_the_tumour_at_the_stated_density_and_lie_nowhere_else(plan, nuclei):
    region = region_of(plan)
    centres = of_kind(nuclei, TUMOR)
    assert shapely.covers(region, shapely.points(centres)).all()
    assert len(centres) / (region.area / 1e6) == pytest.approx(TUMOR_PER_MM2, rel=0.03)


def test_stroma_has_the_stated_density_away_from_glands(plan, nuclei):
    glands = [
        gland
        for column, row in cells_between(*FIELD)
        for gland in CellGrid(plan).at(column, row).glands
    ]
    places = [
        shapely.Point(g.centre_um).buffer(GLANDS[g.shape].radius_um * 13 / 12 + 2) for g in glands
    ]
    stroma = shapely.Polygon(plan.tissue).buffer(-12.0).difference(region_of(plan))
    stroma = stroma.difference(shapely.union_all(places))
    centres = of_kind(nuclei, STROMA)
    assert shapely.covers(stroma.buffer(0.5), shapely.points(centres)).all()
    assert len(centres) / (stroma.area / 1e6) == pytest.approx(STROMA_PER_MM2, rel=0.03)


def test_glands_lie_apart_in_normal_tissue(plan):
    grid = CellGrid(plan)
    glands = [gland for place in cells_between(*FIELD) for gland in grid.at(*place).glands]
    normal = shapely.Polygon(plan.tissue).difference(region_of(plan))
    discs = [shapely.Point(g.centre_um).buffer(GLANDS[g.shape].radius_um) for g in glands]
    assert len(glands) > 20
    assert all(normal.contains(disc) for disc in discs)
    assert shapely.union_all(discs).area == pytest.approx(sum(disc.area for disc in discs))


def test_tumour_nuclei_are_larger_and_darker_by_construction():
    def mean_of(kind):
        shapes = [NUCLEI[index] for index in kind]
        areas = [np.pi * shape.semi_axes_um[0] * shape.semi_axes_um[1] for shape in shapes]
        return np.mean(areas), np.mean([shape.stain for shape in shapes])

    area, stain = mean_of(TUMOR)
    for kind in (STROMA, EPITHELIUM):
        normal_area, normal_stain = mean_of(kind)
        assert area > 2 * normal_area
        assert stain > 1.2 * normal_stain


def test_nuclei_within_two_halves_are_those_of_the_whole(plan, nuclei):
    left = nuclei_within(plan, np.zeros(2), np.array([1100.0, 2000.0]))
    right = nuclei_within(plan, np.array([1100.0, 0.0]), np.array([1900.0, 2000.0]))
    halves = np.concatenate([left.centres_um, right.centres_um])
    assert sorted(halves.tolist()) == sorted(nuclei.centres_um.tolist())
    assert len(left.centres_um) != len(right.centres_um)


def test_another_seed_has_other_nuclei(nuclei):
    other = nuclei_within(plan_slide(replace(SPEC, seed=3)), *FIELD)
    assert len({*map(tuple, nuclei.centres_um)} & {*map(tuple, other.centres_um)}) == 0


def test_glass_has_no_nuclei(plan):
    nuclei = nuclei_within(plan, np.array([2900.0, 0.0]), np.array([100.0, 100.0]))
    assert nuclei.centres_um.shape == (0, 2)
    assert nuclei.shapes.shape == (0,)

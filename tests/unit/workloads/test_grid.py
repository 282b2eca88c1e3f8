"""Patch choice by FAST's rules."""

import math

import numpy as np
import pytest

from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.tissue.methods import distance_tissue
from lamella.units import Level0Pixels
from lamella.workloads.grid import tissue_cells


def fast_cells(mask, size_l0, patch_px):
    """FAST's loop, cell by cell: (x, y, share) in cells."""

    def c_round(value):
        return math.floor(value + 0.5)

    columns, rows = (math.ceil(length / patch_px) for length in size_l0)
    height, width = mask.shape
    for y in range(rows):
        for x in range(columns):
            left, top = c_round(width * (x / columns)), c_round(height * (y / rows))
            part = mask[
                top : top + c_round(height * (1 / rows)),
                left : left + c_round(width * (1 / columns)),
            ]
            yield x, y, part.mean()


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "wide.svs"
    draw_slide(path, SlideSpec(1200.0, 800.0, seed=3))
    with SlideReader(path, DEFAULT_READING) as reader:
        overview = reader.read_overview(Level0Pixels(16))
        yield distance_tissue(overview, np.ones(overview.shape[:2], dtype=bool)), reader.size_l0


@pytest.mark.parametrize("patch_px", [512, 256, 250, 299])
def test_cells_of_a_drawn_slide_are_those_of_fast_but_for_shares_of_exactly_one_half(
    slide, patch_px
):
    tissue, size_l0 = slide
    cells = tissue_cells(tissue, size_l0, patch_px)
    found = set(zip((cells.x // patch_px).tolist(), (cells.y // patch_px).tolist(), strict=True))
    shares = {(x, y): share for x, y, share in fast_cells(tissue, size_l0, patch_px)}
    assert {place for place in found if shares[place] != 0.5} == {
        place for place, share in shares.items() if share > 0.5
    }
    assert 0 < len(found) < len(shares)
    assert (cells.columns, cells.rows) == tuple(math.ceil(int(each) / patch_px) for each in size_l0)


def test_cells_are_named_x_first_row_by_row():
    tissue = np.zeros((4, 6), dtype=bool)
    tissue[0, 4] = tissue[3, 0:2] = True
    cells = tissue_cells(tissue, (60, 40), 10)
    assert list(zip(cells.x.tolist(), cells.y.tolist(), strict=True)) == [
        (40, 0),
        (0, 30),
        (10, 30),
    ]
    assert [each.tolist() for each in cells.place(np.array([0, 2]), 10)] == [[0, 3], [4, 1]]


def test_slide_without_tissue_has_no_cell():
    assert len(tissue_cells(np.zeros((4, 6), dtype=bool), (60, 40), 10).x) == 0

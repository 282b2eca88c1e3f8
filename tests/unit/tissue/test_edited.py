"""Masks that the user drew come back on the grid of our own."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamella.annotations.frame import Frame
from lamella.errors import AnnotationError
from lamella.tissue.edited import read_edited
from lamella.units import Level0Pixels

CELL = Level0Pixels(10)
SHAPE = (6, 9)
CANVAS = Frame(0, 0, 85, 58)


def expected(*rows: str) -> list[list[bool]]:
    return [[c == "#" for c in row] for row in rows]


def read(path: Path, frame: Frame = CANVAS) -> list[list[bool]]:
    return read_edited(path, SHAPE, CELL, frame=frame).tolist()


def geojson(folder: Path, *polygons: list) -> Path:
    path = folder / "mask.geojson"
    path.write_text(json.dumps([{"type": "Polygon", "coordinates": rings} for rings in polygons]))
    return path


def box(left: float, top: float, right: float, bottom: float) -> list:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def test_a_mask_of_our_own_size_is_taken_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).random(SHAPE) < 0.5
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png") == pixels.tolist()


def test_an_image_of_another_size_is_stretched_over_the_slide(tmp_path: Path) -> None:
    pixels = np.zeros((29 * 2, 85), dtype=np.uint8)
    pixels[20:40, 60:] = 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    # The middle of the last column lies on the border of the slide, and no more on the image.
    rows = ["." * 9] * 2 + ["......##."] * 2 + ["." * 9] * 2
    assert read(tmp_path / "a.png") == expected(*rows)


def test_an_image_of_the_scanned_area_is_put_where_that_lies(tmp_path: Path) -> None:
    Image.fromarray(np.ones((20, 30), dtype=bool)).save(tmp_path / "a.png")
    rows = ["." * 9, "....###..", "....###..", *["." * 9] * 3]
    assert read(tmp_path / "a.png", Frame(40, 10, 30, 20)) == expected(*rows)


def test_an_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((9, 6), dtype=bool)).save(tmp_path / "a.png")
    with pytest.raises(AnnotationError, match="aspect ratio"):
        read(tmp_path / "a.png")


def test_cells_are_in_whose_middle_lies_in_a_polygon_and_not_in_its_hole(tmp_path: Path) -> None:
    island = [box(41, 21, 59, 39)]
    ring = [box(4.9, 4.9, 75.1, 55.1), box(24, 14, 66, 46)]
    cut = [box(76, 0, 85, 24)]
    # The hole is from column 2 to 6; the island fills two by two cells of it.
    rows = ["#########", "##.....##", "##..##.#.", "##..##.#.", "##.....#.", "########."]
    assert read(geojson(tmp_path, island, ring, cut)) == expected(*rows)


def test_outlines_that_start_at_the_bounds_are_moved(tmp_path: Path) -> None:
    path = geojson(tmp_path, [box(0, 0, 20, 10)])
    rows = ["." * 9, "." * 9, "...##....", *["." * 9] * 3]
    assert read(path, Frame(30, 20, 40, 30)) == expected(*rows)


def test_nothing_drawn_is_no_tissue(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    assert not np.array(read(tmp_path / "a.json")).any()

"""Squares land where they belong, and overlapping ones are averaged."""

import numpy as np
from PIL import Image

from lamella.predict.heatmap import (
    LEGEND_PX,
    ColourScale,
    Overview,
    draw_heatmap,
    draw_outline,
    mean_map,
)


def map_of(squares, *, edge_l0, size_l0, size_px):
    x, y, values = (np.array(column) for column in zip(*squares, strict=True))
    return mean_map(
        x, y, values.astype(np.float32), edge_l0=edge_l0, size_l0=size_l0, size_px=size_px
    )


def test_squares_land_at_x_and_y_and_overlaps_are_averaged():
    squares = [(0, 0, 0.25), (20, 0, 0.75), (40, 20, 1.0)]
    found = map_of(squares, edge_l0=40, size_l0=(100, 60), size_px=(5, 3))
    nan = np.nan
    expected = [
        [0.25, 0.5, 0.75, nan, nan],
        [0.25, 0.5, 7 / 8, 1.0, nan],
        [nan, nan, 1.0, 1.0, nan],
    ]
    np.testing.assert_allclose(found, expected)


def test_neighbours_leave_no_gap_where_edges_do_not_fit_the_pixels():
    squares = [(column * 7, row * 7, 0.5) for row in range(9) for column in range(14)]
    found = map_of(squares, edge_l0=7, size_l0=(98, 63), size_px=(31, 20))
    np.testing.assert_allclose(found, np.full((20, 31), 0.5))


def test_a_square_smaller_than_a_pixel_is_still_seen():
    found = map_of([(990, 10, 1.0)], edge_l0=8, size_l0=(1000, 400), size_px=(10, 4))
    assert np.argwhere(np.isfinite(found)).tolist() == [[0, 9]]


def test_no_squares_give_an_empty_map():
    none = np.empty(0, dtype=np.int64)
    found = mean_map(
        none, none, none.astype(np.float32), edge_l0=8, size_l0=(30, 20), size_px=(3, 2)
    )
    assert np.isnan(found).all()
    assert found.shape == (2, 3)


def test_the_outline_is_the_border_of_the_tissue_only():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:4, 0:4] = True
    drawn = draw_outline(np.full((4, 6, 3), 200, dtype=np.uint8), mask)
    dark = (drawn[..., 0] < 100).astype(int).tolist()
    assert dark == [
        [0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
    ]


def test_high_probabilities_are_red_low_ones_blue_and_the_rest_grey():
    mask = np.zeros((20, 40), dtype=bool)
    overview = Overview(Image.new("RGB", (40, 20), (230, 180, 210)), mask, cell_l0=10)
    values = np.full((200, 400), np.nan)
    values[:100, :100] = 1.0
    values[100:, 300:] = 0.0
    page = np.asarray(draw_heatmap(overview, values, target="tumor")).astype(int)
    assert page.shape == (200 + LEGEND_PX, 400, 3)
    red, blue, grey = page[50, 50], page[150, 350], page[50, 350]
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    assert np.ptp(grey) == 0


def test_the_size_of_a_picture_keeps_the_shape_of_the_slide():
    overview = Overview(Image.new("RGB", (4, 4)), np.zeros((30, 90), dtype=bool), cell_l0=16)
    assert overview.size_l0 == (1440, 480)
    assert overview.size_px(800) == (800, 267)


def test_numbers_have_the_colours_of_probabilities_on_their_own_scale():
    mask = np.zeros((20, 40), dtype=bool)
    overview = Overview(Image.new("RGB", (40, 20), (230, 180, 210)), mask, cell_l0=10)
    shares = np.linspace(-0.5, 1.5, 200 * 400).reshape(200, 400)
    plain = np.asarray(draw_heatmap(overview, shares.clip(0, 1), target="age"))[:200]
    scale = ColourScale(20.0, 80.0, "predicted ")
    found = np.asarray(draw_heatmap(overview, 20 + 60 * shares, target="age", scale=scale))
    np.testing.assert_array_equal(found[:200], plain)

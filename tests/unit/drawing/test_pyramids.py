import io

import numpy as np
import pytest

from lamella.drawing.pyramids import LowerLevel, level_sizes, reduce, tiles_of


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2400, 2000), [(2400, 2000), (600, 500), (150, 125)]),
        ((1203, 1001), [(1203, 1001), (300, 250)]),
        ((500, 400), [(500, 400)]),
        (
            (100_000, 80_000),
            [(100_000, 80_000), (25_000, 20_000), (6250, 5000), (1562, 1250), (390, 312)],
        ),
    ],
)
def test_levels_are_four_times_smaller_down_to_512_pixels(size, expected):
    assert level_sizes(*size) == expected


def test_reduce_takes_the_mean_of_four_by_four_and_drops_the_rest():
    pixels = np.random.default_rng(0).integers(256, size=(9, 14, 3), dtype=np.uint8)
    expected = np.floor(pixels[:8, :12].reshape(2, 4, 3, 4, 3).mean(axis=(1, 3)) + 0.5)
    assert reduce(pixels).tolist() == expected.tolist()


def test_tiles_are_whole_and_repeat_the_border():
    pixels = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    tiles = list(tiles_of(pixels, 4))
    assert [tile.shape for tile in tiles] == [(4, 4, 3)] * 6
    assert tiles[1].tolist() == pixels[:4, 4:8].tolist()
    assert tiles[5].tolist() == np.broadcast_to(pixels[4, 8], (4, 4, 3)).tolist()


@pytest.mark.parametrize("rows_at_once", [1, 3, 8, 29])
def test_levels_do_not_depend_on_how_many_rows_come_at_once(rows_at_once):
    pixels = np.random.default_rng(1).integers(256, size=(29, 45, 3), dtype=np.uint8)
    small = LowerLevel((11, 7), 8, np.ndarray.tobytes, io.BytesIO(), None)
    large = LowerLevel((45, 29), 8, np.ndarray.tobytes, io.BytesIO(), small)
    for y in range(0, 29, rows_at_once):
        large.push(pixels[y : y + rows_at_once])
    large.push(pixels[:4])
    assert list(large.tiles()) == [tile.tobytes() for tile in tiles_of(pixels, 8)]
    assert list(small.tiles()) == [tile.tobytes() for tile in tiles_of(reduce(pixels), 8)]

import numpy as np
import pytest
from skimage.transform import SimilarityTransform, rotate, warp

from lamella.datasets.geometry import (
    control_points,
    elastic_shifts,
    resampled,
    source_places,
    turn_and_scale,
    viewed,
)

SIZE = 40


def slopes() -> np.ndarray:
    """Planes ``(3, 40, 40)`` that no turn or mirroring leaves as they are."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    waves = 100 + 40 * np.sin(x / 5) * np.cos(y / 9)
    return np.stack([3 * x + y, waves, (x > 24) * 200 + y]).astype(np.float32)


def moved(planes: np.ndarray, *, angle_deg: float = 0, factor: float = 1) -> np.ndarray:
    return resampled(planes, source_places(SIZE, turn_and_scale(angle_deg, factor)))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_views_are_those_of_numpy(mirror, turns):
    image = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)
    expected = np.rot90(np.fliplr(image) if mirror else image, turns)
    assert np.array_equal(viewed(image, mirror=mirror, turns=turns), expected)


def test_a_right_angle_is_a_quarter_turn_counter_clockwise():
    turned = moved(slopes(), angle_deg=90)
    assert turned == pytest.approx(np.rot90(slopes(), axes=(1, 2)), abs=0.01)


@pytest.mark.parametrize("angle_deg", [30.0, -71.5])
def test_turning_is_that_of_scikit_image_mirrored_at_the_border(angle_deg):
    for plane, turned in zip(slopes(), moved(slopes(), angle_deg=angle_deg), strict=True):
        assert turned == pytest.approx(rotate(plane, angle_deg, mode="symmetric"), abs=0.01)


@pytest.mark.parametrize("factor", [1.4, 0.7])
def test_turning_and_enlarging_at_once_is_that_of_scikit_image(factor):
    middle = (SIZE - 1) / 2
    to_middle = SimilarityTransform(translation=(-middle, -middle))
    # Its y points down: a positive turn is clockwise.
    change = SimilarityTransform(scale=factor, rotation=-np.deg2rad(25))
    back = SimilarityTransform(translation=(middle, middle))
    inverse = (to_middle + change + back).inverse
    found = moved(slopes(), angle_deg=25, factor=factor)
    for plane, each in zip(slopes(), found, strict=True):
        assert each == pytest.approx(warp(plane, inverse, mode="symmetric"), abs=0.01)


def test_a_control_point_shifts_its_surroundings_by_the_cubic_spline():
    # Points every 8 pixels; the second lies on pixel 0, so column 3 on x = 16 and row 2 on y = 8.
    control = np.zeros((2, 8, 8))
    control[0, 2, 3] = 9.0
    shifts = elastic_shifts(SIZE, 8.0, control)
    assert shifts[0, 8, 16] == pytest.approx(9 * (4 / 6) * (4 / 6))
    assert shifts[0, 8, 24] == pytest.approx(9 * (4 / 6) * (1 / 6))
    assert shifts[0, 16, 24] == pytest.approx(9 * (1 / 6) * (1 / 6))
    # Half-way between points the weights are 23/48 and 1/48.
    assert shifts[0, 8, 20] == pytest.approx(9 * (4 / 6) * (23 / 48))
    assert shifts[0, 8, 32] == shifts[0, 24, 16] == pytest.approx(0, abs=1e-6)
    assert not shifts[1].any()


@pytest.mark.parametrize(("size", "spacing_px"), [(40, 8.0), (41, 8.0), (224, 48.0), (16, 100.0)])
def test_equal_control_points_shift_all_pixels_alike(size, spacing_px):
    points = control_points(size, spacing_px)
    control = np.full((2, points, points), -3.0)
    assert elastic_shifts(size, spacing_px, control) == pytest.approx(np.full((2, size, size), -3))


def test_shifted_places_come_from_the_right_and_below():
    places = source_places(SIZE, turn_and_scale(0, 1))
    places[0] += 2
    places[1] += 0.5
    found, planes = resampled(slopes(), places), slopes()
    expected = (planes[:, 4:-1, 7:] + planes[:, 5:, 7:]) / 2
    assert found[:, 4:-1, 5:-2] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("share", "folds"), [(0.48, False), (0.6, True)])
def test_tissue_folds_over_only_beyond_the_share_that_settings_allow(share, folds):
    # The worst case of Choi and Lee: what lies left of and above a point goes right and down.
    spacing_px, points = 40.0, control_points(400, 40.0)
    y, x = np.mgrid[:points, :points] - points // 2
    control = share * spacing_px * np.stack([np.where(x + y < 0, 1, -1)] * 2)
    places = source_places(400, turn_and_scale(0, 1)) + elastic_shifts(400, spacing_px, control)
    by_y, by_x = np.gradient(places.astype(float), axis=(1, 2))
    area = by_x[0] * by_y[1] - by_x[1] * by_y[0]
    assert (area.min() < 0) == folds

import numpy as np
import pytest
import shapely

from lamella.drawing.polygons import (
    line_distance,
    region_distance,
    signed_distance,
    wobbly_ellipse,
)

# A horseshoe, open to the right, wider than high.
HORSESHOE = np.array(
    [[0, 0], [90, 0], [90, 10], [20, 10], [20, 40], [90, 40], [90, 50], [0, 50]], float
)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform((-30, -20), (120, 70), (500, 2))


def test_distance_to_a_polygon_is_that_of_shapely_positive_inside(points):
    outline = shapely.Polygon(HORSESHOE)
    places = shapely.points(points)
    expected = shapely.distance(outline.exterior, places)
    expected = np.where(shapely.contains(outline, places), expected, -expected)
    np.testing.assert_allclose(signed_distance(HORSESHOE, points), expected, atol=1e-9)


def test_distance_to_a_line_is_that_of_shapely(points):
    expected = shapely.distance(shapely.LineString(HORSESHOE), shapely.points(points))
    np.testing.assert_allclose(line_distance(HORSESHOE, points), expected, atol=1e-9)


def test_distance_to_a_line_of_one_place_is_the_distance_to_that_place():
    place = np.array([[3.0, 4.0], [3.0, 4.0]])
    assert line_distance(place, np.array([[0.0, 0.0], [3.0, 9.0]])).tolist() == [5.0, 5.0]


def test_a_hole_is_outside_of_the_region():
    big = np.array([[0, 0], [100, 0], [100, 60], [0, 60]], float)
    hole = np.array([[10, 20], [30, 20], [30, 40], [10, 40]], float)
    other = big + np.array([200, 0])
    depths = region_distance(
        (big, other), (hole,), np.array([[20, 30], [80, 30], [250, 30], [150, 30]])
    )
    assert depths.tolist() == [-10.0, 20.0, 30.0, -50.0]


def test_a_region_without_polygons_is_infinitely_far():
    assert region_distance((), (), np.zeros((2, 2))).tolist() == [-np.inf, -np.inf]


def test_a_distance_does_not_depend_on_the_points_around_it(points):
    alone = [signed_distance(HORSESHOE, point[None])[0] for point in points]
    assert alone == signed_distance(HORSESHOE, points).tolist()


def test_a_wobbly_ellipse_lies_within_its_axes_on_the_vertex_grid():
    rng = np.random.default_rng(3)
    centre, semi_axes = np.array([70.0, 40.0]), np.array([50.0, 20.0])
    outline = wobbly_ellipse(centre, semi_axes, rng, wobble=0.3, vertices=64)
    radii = np.hypot(*((outline - centre) / semi_axes).T)
    assert 0.38 < radii.min() < radii.max() <= 1.03
    assert np.array_equal(outline * 2, np.rint(outline * 2))
    assert shapely.Polygon(outline).is_valid

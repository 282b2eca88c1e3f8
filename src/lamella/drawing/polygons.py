"""Outlines in microns and the distance to them.

Distances use only ``+ - * / sqrt`` and comparisons, which are rounded alike everywhere: a point
has the same distance, to the bit, in whatever array it is computed.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""``(n, 2)`` points ``(x, y)``, microns from the top-left corner of the field."""

Distances = NDArray[np.float64]
"""``(n,)`` distances in microns."""

VERTEX_GRID_UM = 0.5
"""Vertices lie on this grid, so that they are whole pixels for every scanner."""


def wobbly_ellipse(
    centre: Points, semi_axes_um: Points, rng: np.random.Generator, *, wobble: float, vertices: int
) -> Points:
    """Return an irregular closed outline around a centre.

    Args:
        centre: ``(2,)`` point.
        semi_axes_um: ``(2,)`` semi-axes along x and y.
        rng: Source of the shape.
        wobble: Largest relative change of the radius, in ``[0, 1)``.
        vertices: Number of vertices.
    """
    angles = np.arange(vertices) * (2 * np.pi / vertices)
    orders = np.arange(2, 8)
    weights = rng.random(orders.size) / orders
    phases = rng.random(orders.size) * 2 * np.pi
    waves = np.cos(np.outer(angles, orders) + phases) @ (weights / weights.sum())
    radii = 1.0 - wobble + wobble * waves[:, None]
    outline = centre + radii * semi_axes_um * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(np.rint(outline / VERTEX_GRID_UM) * VERTEX_GRID_UM)


def line_distance(line: Points, points: Points) -> Distances:
    """Return how far each point is from an open line of at least two vertices."""
    return np.asarray(np.sqrt(_squared_to_segments(line[:-1], line[1:], points)))


def signed_distance(polygon: Points, points: Points) -> Distances:
    """Return how deep each point lies inside a closed polygon; negative outside.

    Args:
        polygon: Vertices, the first not repeated.
        points: ``(m, 2)`` points.

    Source:
        Inside by crossings of a ray with the edges (even-odd rule).
    """
    ends = np.roll(polygon, -1, axis=0)
    distance = np.sqrt(_squared_to_segments(polygon, ends, points))
    x, y = points[:, 0, None], points[:, 1, None]
    spans = (polygon[:, 1] > y) != (ends[:, 1] > y)
    rise = ends[:, 1] - polygon[:, 1]
    # A level edge spans no ray: its quotient is never used.
    slope = (ends[:, 0] - polygon[:, 0]) / np.where(rise == 0.0, 1.0, rise)
    crossings = spans & (x < polygon[:, 0] + (y - polygon[:, 1]) * slope)
    inside = crossings.sum(axis=1) % 2 == 1
    return np.asarray(np.where(inside, distance, -distance))


def region_distance(
    polygons: tuple[Points, ...], holes: tuple[Points, ...], points: Points
) -> Distances:
    """Return how deep points lie in the union of polygons without holes; -inf without polygons."""
    depth = np.full(len(points), -np.inf)
    for polygon in polygons:
        depth = np.maximum(depth, signed_distance(polygon, points))
    for hole in holes:
        depth = np.minimum(depth, -signed_distance(hole, points))
    return depth


def _squared_to_segments(starts: Points, ends: Points, points: Points) -> Distances:
    dx, dy = (ends - starts).T
    px = points[:, 0, None] - starts[:, 0]
    py = points[:, 1, None] - starts[:, 1]
    length = dx * dx + dy * dy
    along = np.clip((px * dx + py * dy) / np.where(length == 0.0, 1.0, length), 0.0, 1.0)
    px -= along * dx
    py -= along * dy
    return np.asarray((px * px + py * py).min(axis=1))

"""Areas compared with thresholds as numbers of arithmetic, not of the machine."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from lamella.annotations.raster import Raster
from lamella.units import Level0Pixels

Tumor: TypeAlias = BaseGeometry | Raster
"""Annotated tumour: outlines in level-0 pixels, or painted."""

# Shapely's areas are off by some rounding errors of corners of up to six digits.
_DOUBTFUL_SHARE = 1e-9
_Corner = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Windows:
    """Square windows of one size: ``x`` and ``y`` of shape ``(n,)`` in level-0 pixels."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    edge_l0: Level0Pixels


def exactly(number: float) -> Fraction:
    """Return a number as it is written: 0.3 is three tenths, not the nearest double."""
    return Fraction(repr(float(number)))


def at_least(
    shares: NDArray[np.float64], threshold: float, edge_l0: Level0Pixels
) -> NDArray[np.bool_]:
    """Return which windows have a share of at least the threshold, shares of whole pixels.

    Args:
        shares: ``(n,)`` shares of windows, each a whole number of level-0 pixels.
        threshold: In ``[0, 1]``; a window with exactly this share is in.
        edge_l0: Edge length of the windows.
    """
    window = int(edge_l0) ** 2
    enough: NDArray[np.bool_] = np.rint(shares * window) >= math.ceil(exactly(threshold) * window)
    return enough


def tumor_shares(
    tumor: Tumor | None,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    edge_l0: Level0Pixels,
) -> NDArray[np.float64]:
    """Return the share of each window that lies in the tumour.

    Returns:
        ``(n,)`` in ``[0, 1]``; NaN where ``tumor`` is ``None``.
    """
    if tumor is None:
        return np.full(len(x), np.nan)
    if isinstance(tumor, Raster):
        return tumor.shares(x, y, edge_l0)
    windows = shapely.box(x, y, x + edge_l0, y + edge_l0)
    shapely.prepare(tumor)
    share = np.zeros(len(x))
    inside = shapely.contains_properly(tumor, windows)
    share[inside] = 1.0
    # Only windows on the outline need the costly intersection.
    crossed = shapely.intersects(tumor, windows) & ~inside
    share[crossed] = shapely.area(shapely.intersection(windows[crossed], tumor)) / edge_l0**2
    return share


def compared(
    shares: NDArray[np.float64], threshold: float, tumor: Tumor, windows: Windows
) -> NDArray[np.int8]:
    """Return on which side of a threshold the tumour share of each window lies.

    Painted areas are whole numbers. Of outlines, the few shares that rounding could have moved over
    the threshold are computed anew in rational numbers.

    Args:
        shares: ``(n,)`` from ``tumor_shares``.
        threshold: In ``[0, 1]``.
        tumor: The same tumour.
        windows: The same windows.

    Returns:
        ``(n,)``: -1 below, 0 at, 1 above the threshold.
    """
    edge_l0, wanted = int(windows.edge_l0), exactly(threshold)
    if isinstance(tumor, Raster):
        limit = wanted * tumor.window_area(edge_l0)
        areas = tumor.areas(windows.x, windows.y, edge_l0)
        above, below = areas > math.floor(limit), areas < math.ceil(limit)
        return above.astype(np.int8) - below.astype(np.int8)
    side = np.sign(shares - threshold).astype(np.int8)
    for place in _doubtful(shares, threshold, tumor, windows):
        corner = int(windows.x[place]), int(windows.y[place])
        share = exact_area(tumor, corner, edge_l0) / edge_l0**2
        side[place] = (share > wanted) - (share < wanted)
    return side


def _doubtful(
    shares: NDArray[np.float64], threshold: float, tumor: BaseGeometry, windows: Windows
) -> NDArray[np.int64]:
    """Return the windows so near a threshold that rounding could decide.

    Not those that the tumour leaves out or covers: nothing was computed for them.
    """
    near = np.flatnonzero((np.abs(shares - threshold) <= _DOUBTFUL_SHARE) & (shares > 0))
    x, y = windows.x[near], windows.y[near]
    covered = shapely.contains_properly(
        tumor, shapely.box(x, y, x + windows.edge_l0, y + windows.edge_l0)
    )
    doubtful: NDArray[np.int64] = near[~covered]
    return doubtful


def exact_area(area: BaseGeometry, corner: tuple[int, int], edge_l0: int) -> Fraction:
    """Return how much of a square window valid polygons cover, without any rounding.

    Source:
        Clipping: Sutherland and Hodgman, CACM 17(1), 1974, doi:10.1145/360767.360802. What it
        gives for rings that are not convex has edges to and fro, whose areas cancel.
    """
    total = Fraction(0)
    for polygon in shapely.get_parts(area):
        rings = [_clipped_area(ring, corner, edge_l0) for ring in _rings(polygon)]
        total += sum(rings[:1], Fraction(0)) - sum(rings[1:], Fraction(0))
    return total


def _rings(polygon: BaseGeometry) -> Iterable[list[_Corner]]:
    for ring in shapely.get_rings(polygon):
        points = shapely.get_coordinates(ring)[:-1].tolist()
        yield [(exactly(x), exactly(y)) for x, y in points]


def _clipped_area(ring: list[_Corner], corner: tuple[int, int], edge_l0: int) -> Fraction:
    for axis, start in enumerate(corner):
        ring = _clipped(ring, axis, start, 1)
        ring = _clipped(ring, axis, start + edge_l0, -1)
    twice = sum(
        (ax * by - bx * ay for (ax, ay), (bx, by) in _edges(ring)),
        Fraction(0),
    )
    return abs(twice) / 2


def _clipped(ring: list[_Corner], axis: int, border: int, sign: int) -> list[_Corner]:
    """Return the part of a ring on one side of a line: ``sign * (coordinate - border) >= 0``."""
    kept: list[_Corner] = []
    for start, end in _edges(ring):
        before, after = sign * (start[axis] - border), sign * (end[axis] - border)
        if before >= 0:
            kept.append(start)
        if before * after < 0:
            along = before / (before - after)
            x, y = (a + along * (b - a) for a, b in zip(start, end, strict=True))
            kept.append((x, y))
    return kept


def _edges(ring: list[_Corner]) -> Iterable[tuple[_Corner, _Corner]]:
    return zip(ring, ring[1:] + ring[:1], strict=True)

"""Where nuclei and glands lie: a grid of cells, each filled from its own seed.

Whoever asks for a cell gets the same contents, so blocks that share a cell draw the same nuclei.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lamella.drawing.plan import SlidePlan
from lamella.drawing.polygons import Distances, Points, region_distance, signed_distance
from lamella.drawing.stamps import EPITHELIUM, GLANDS, STROMA, TUMOR

CELL_UM = 128.0
"""Edge length of a cell of the grid; a gland lies within one cell."""

_CELL_STREAM = 1
_STROMA_PER_AXIS, _STROMA_SHARE = 8, 0.55
_TUMOR_PER_AXIS, _TUMOR_SHARE = 12, 0.80
_GLAND_SHARE = 0.5
_RIM_UM = 12.0

STROMA_PER_MM2 = _STROMA_PER_AXIS**2 * _STROMA_SHARE / CELL_UM**2 * 1e6
"""Expected nuclei per square millimetre of stroma away from glands, about 2,150."""

TUMOR_PER_MM2 = _TUMOR_PER_AXIS**2 * _TUMOR_SHARE / CELL_UM**2 * 1e6
"""Expected nuclei per square millimetre of tumour, about 7,000."""


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of a part of a slide.

    Attributes:
        centres_um: ``(n, 2)`` centres ``(x, y)``, microns from the field's top-left corner.
        shapes: ``(n,)`` indices into ``stamps.NUCLEI``, which tells kind, size and stain.
    """

    centres_um: Points
    shapes: NDArray[np.int64]


@dataclass(frozen=True)
class Gland:
    """A gland: centre ``(2,)`` in microns and index into ``stamps.GLANDS``."""

    centre_um: Points
    shape: int


@dataclass(frozen=True)
class CellContents:
    """What lies in one cell; ``glands`` holds none or one."""

    nuclei: Nuclei
    glands: tuple[Gland, ...]


class CellGrid:
    """The cells of one slide."""

    def __init__(self, plan: SlidePlan) -> None:
        self._plan = plan
        # A row of cells across the widest slides, a few times over.
        self.at = lru_cache(maxsize=2048)(self._fill)

    def _fill(self, column: int, row: int) -> CellContents:
        """Return the contents of a cell; of cells beyond the field's left and top, nothing."""
        if column < 0 or row < 0:
            return CellContents(_no_nuclei(), ())
        rng = np.random.default_rng((self._plan.spec.seed, _CELL_STREAM, column, row))
        corner = np.array([column, row]) * CELL_UM
        gland = _candidate_gland(corner, rng)
        stroma, stroma_shapes = _jittered(rng, _STROMA_PER_AXIS, _STROMA_SHARE, STROMA)
        tumor, tumor_shapes = _jittered(rng, _TUMOR_PER_AXIS, _TUMOR_SHARE, TUMOR)
        points = corner + np.concatenate([stroma, tumor])
        centre = corner + CELL_UM / 2
        tissue, malignant = self._depths(centre, points)
        if not (tissue > _RIM_UM).any():
            return CellContents(_no_nuclei(), ())
        in_tumor = np.arange(len(points)) >= len(stroma)
        keep = (tissue > _RIM_UM) & np.where(in_tumor, malignant > 0.0, malignant <= 0.0)
        glands = self._fitting(gland)
        nuclei = Nuclei(points[keep], np.concatenate([stroma_shapes, tumor_shapes])[keep])
        return CellContents(_with_glands(nuclei, glands), glands)

    def _depths(self, centre: Points, points: Points) -> tuple[Distances, Distances]:
        """Return the depths of a cell's points in tissue and in tumour.

        Far from a border all points get the depth of the cell's centre, which has their sign.
        """
        plan, reach = self._plan, CELL_UM
        tissue = signed_distance(plan.tissue, centre[None])
        if tissue[0] < -reach:
            return np.full(len(points), tissue[0]), np.full(len(points), -np.inf)
        if tissue[0] < reach:
            tissue = signed_distance(plan.tissue, points)
        malignant = region_distance(plan.tumors, plan.exclusions, centre[None])
        if abs(malignant[0]) < reach:
            malignant = region_distance(plan.tumors, plan.exclusions, points)
        shape = (len(points),)
        return np.broadcast_to(tissue, shape), np.broadcast_to(malignant, shape)

    def _fitting(self, gland: Gland | None) -> tuple[Gland, ...]:
        if gland is None:
            return ()
        radius_um = _reach_um(gland)
        centre = gland.centre_um[None]
        tissue = signed_distance(self._plan.tissue, centre)[0]
        malignant = region_distance(self._plan.tumors, self._plan.exclusions, centre)[0]
        fits = tissue > radius_um + _RIM_UM and malignant < -radius_um
        return (gland,) if fits else ()


def nuclei_within(plan: SlidePlan, corner_um: Points, size_um: Points) -> Nuclei:
    """Return the true nuclei whose centres lie in a rectangle of the field.

    Args:
        plan: The slide.
        corner_um: ``(2,)`` top-left corner.
        size_um: ``(2,)`` width and height.

    Returns:
        The nuclei, cell by cell; none where there is no tissue.
    """
    grid = CellGrid(plan)
    found = [grid.at(column, row).nuclei for column, row in cells_between(corner_um, size_um)]
    centres = np.concatenate([_no_nuclei().centres_um, *(nuclei.centres_um for nuclei in found)])
    shapes = np.concatenate([_no_nuclei().shapes, *(nuclei.shapes for nuclei in found)])
    inside = ((centres >= corner_um) & (centres < corner_um + size_um)).all(axis=1)
    return Nuclei(centres[inside], shapes[inside])


def cells_between(corner_um: Points, size_um: Points) -> list[tuple[int, int]]:
    """Return ``(column, row)`` of the cells that a rectangle touches, row by row."""
    first = np.floor(corner_um / CELL_UM).astype(int)
    last = np.floor((corner_um + size_um) / CELL_UM).astype(int)
    rows = range(int(first[1]), int(last[1]) + 1)
    columns = range(int(first[0]), int(last[0]) + 1)
    return [(column, row) for row in rows for column in columns]


def _no_nuclei() -> Nuclei:
    return Nuclei(np.empty((0, 2)), np.empty(0, np.int64))


def _candidate_gland(corner: Points, rng: np.random.Generator) -> Gland | None:
    wanted, jitter = rng.random() < _GLAND_SHARE, rng.uniform(-1.0, 1.0, 2)
    gland = Gland(corner + CELL_UM / 2, int(rng.integers(len(GLANDS))))
    room_um = CELL_UM / 2 - _reach_um(gland)
    return Gland(gland.centre_um + room_um * jitter, gland.shape) if wanted else None


def _reach_um(gland: Gland) -> float:
    return GLANDS[gland.shape].radius_um * 13 / 12


def _jittered(
    rng: np.random.Generator, per_axis: int, share: float, shapes: range
) -> tuple[Points, NDArray[np.int64]]:
    """Return points of a jittered grid in a cell, of which a share is kept, and their shapes."""
    step = CELL_UM / per_axis
    y, x = np.divmod(np.arange(per_axis**2), per_axis)
    jitter = rng.uniform(0.12, 0.88, (per_axis**2, 2))
    kept = rng.random(per_axis**2) < share
    chosen = rng.integers(shapes.start, shapes.stop, per_axis**2)
    points = (np.stack([x, y], axis=1) + jitter) * step
    return points[kept], chosen[kept]


def _with_glands(nuclei: Nuclei, glands: tuple[Gland, ...]) -> Nuclei:
    """Return nuclei with those of the glands, and without stroma nuclei under a gland."""
    for gland in glands:
        shape = GLANDS[gland.shape]
        away = np.square(nuclei.centres_um - gland.centre_um).sum(axis=1)
        outside = away > (_reach_um(gland) + 2.0) ** 2
        ring = gland.centre_um + shape.nuclei_um
        kinds = EPITHELIUM.start + np.arange(len(ring)) * 7 % len(EPITHELIUM)
        nuclei = Nuclei(
            np.concatenate([nuclei.centres_um[outside], ring]),
            np.concatenate([nuclei.shapes[outside], kinds]),
        )
    return nuclei

"""Pixels: a block of the field is drawn from the plan, and no pixel depends on the block.

The amounts of eosin and haematoxylin are drawn first, 0 … 255, in whole numbers; a table turns
them into colour. Alphas are whole numbers 0 … 256; where a whole block has one value, an alpha
is a ``(1, 1)`` array.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lamella.drawing.cells import CellContents, CellGrid, cells_between
from lamella.drawing.plan import Disc, SlidePlan, Stroke
from lamella.drawing.polygons import (
    Distances,
    Points,
    line_distance,
    region_distance,
    signed_distance,
)
from lamella.drawing.scanners import colour_table
from lamella.drawing.stamps import gland_stamps, nucleus_stamps
from lamella.drawing.textures import (
    LATTICE_UM,
    Field,
    crop,
    sensor_noise,
    slow_fields,
    tissue_textures,
)

Stain = NDArray[np.uint16]
"""``(height, width)`` amounts of one stain, 0 … 255."""

Packed = NDArray[np.uint32]
"""``(height, width)`` colours as in ``scanners.colour_table``."""

Alpha = NDArray[np.uint16]
"""``(height, width)`` or ``(1, 1)``, 0 … 256."""

_STAMP_REACH_UM = 9.0
_WOBBLE_UM = 10.0
_TISSUE_EDGE_UM = 3.0
_TUMOR_EDGE_UM = 6.0
_STROMA_HAEMATOXYLIN = 14
_BLUR_SIGMA_UM = 2.5
_BLUR_EDGE_UM = 30.0


@dataclass(frozen=True)
class Box:
    """A rectangle of the field in level-0 pixels; it may reach over the field's border."""

    x: int
    y: int
    width: int
    height: int

    def grown(self, by_px: int) -> "Box":
        """Return the rectangle with a frame around it."""
        return Box(self.x - by_px, self.y - by_px, self.width + 2 * by_px, self.height + 2 * by_px)


@dataclass(frozen=True)
class Stains:
    """Amounts of both stains in a block, ``[y, x]``."""

    haematoxylin: Stain
    eosin: Stain


class SlideDrawer:
    """Draws blocks of one slide; holds what they share."""

    def __init__(self, plan: SlidePlan) -> None:
        self._plan = plan
        self._mpp = plan.spec.model.mpp
        self._step_px = round(LATTICE_UM / self._mpp)
        self._colours = colour_table(plan.spec.model)
        self._cells = CellGrid(plan)
        # Slides share textures; each looks at another part of them.
        self._shift = np.random.default_rng((plan.spec.seed, 2, 0, 0)).integers(2**20, size=2)

    def draw(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of a block.

        Returns:
            ``(height, width, 3)`` RGB.
        """
        packed = self._focussed(box) + self._crop(sensor_noise(), box)
        return _inked(_channels(packed)[:, :, :3], self._plan.pen, self._pen_alpha(box))

    def _focussed(self, box: Box) -> Packed:
        disc = self._plan.blur
        if disc is None:
            return self._light(box)
        alpha = self._disc_alpha(disc, box)
        if not alpha.any():
            return self._light(box)
        sigma_px = _BLUR_SIGMA_UM / self._mpp
        halo = int(np.ceil(3 * sigma_px))
        return _defocussed(self._light(box.grown(halo)), alpha, halo)

    def _light(self, box: Box) -> Packed:
        """Return what passes through the tissue."""
        stains = self._stains(box)
        return np.asarray(self._colours.take((stains.haematoxylin << 8) | stains.eosin))

    def _stains(self, box: Box) -> Stains:
        tissue = self._tissue_alpha(box)
        if tissue.size == 1 and tissue[0, 0] == 0:
            empty = np.zeros((box.height, box.width), np.uint16)
            return Stains(empty, empty)
        stains = self._ground(box, tissue)
        self._stamp(stains, box)
        fold = self._fold_alpha(box)
        if fold.any():
            # A fold is tissue on tissue: up to 1.8 times the stain.
            for stain in (stains.haematoxylin, stains.eosin):
                # 255 * 16 * 13 is the largest product that 16 bits must hold.
                stain[...] = np.minimum(stain + (stain * (fold >> 4) * np.uint16(13) >> 8), 255)
        return stains

    def _ground(self, box: Box, tissue: Alpha) -> Stains:
        """Return everything but nuclei and glands."""
        textures, slow = tissue_textures(self._mpp), slow_fields()
        mixture = _alpha(self._slow(slow.mixture, box))
        first, second = (self._crop(texture, box) for texture in textures.fibres)
        eosin = _mixed(second, first, mixture)
        haematoxylin = np.full_like(eosin, _STROMA_HAEMATOXYLIN)
        tumor = self._tumor_alpha(box)
        if tumor.any():
            eosin = _mixed(eosin, self._crop(textures.cytoplasm, box), tumor)
            haematoxylin = _mixed(haematoxylin, self._crop(textures.basophil, box), tumor)
        thickness = _alpha(self._slow(slow.thickness, box) * 0.5) * tissue.astype(np.uint32)
        eosin = np.minimum(eosin * thickness >> 15, 255).astype(np.uint16)
        return Stains(np.asarray(haematoxylin * tissue >> 8, dtype=np.uint16), eosin)

    def _stamp(self, stains: Stains, box: Box) -> None:
        cells = self._cells_of(box)
        glands = gland_stamps(self._mpp)
        for gland in (gland for cell in cells for gland in cell.glands):
            stamp = glands[gland.shape]
            there, here = _overlap(self._corner_px(gland.centre_um, stamp.inside.shape, box), box)
            inside = stamp.inside[here]
            np.copyto(stains.eosin[there], stamp.eosin[here], where=inside)
            np.copyto(stains.haematoxylin[there], stamp.haematoxylin[here], where=inside)
        nuclei = nucleus_stamps(self._mpp)
        for cell in cells:
            self._stamp_nuclei(stains.haematoxylin, cell, nuclei, box)

    def _stamp_nuclei(
        self,
        haematoxylin: Stain,
        cell: CellContents,
        stamps: tuple[NDArray[np.uint8], ...],
        box: Box,
    ) -> None:
        centres_px = np.rint(cell.nuclei.centres_um / self._mpp).astype(int) - (box.x, box.y)
        for (x, y), shape in zip(centres_px.tolist(), cell.nuclei.shapes.tolist(), strict=True):
            stamp = stamps[shape]
            reach = len(stamp) // 2
            there, here = _overlap((y - reach, x - reach, *stamp.shape), box)
            target = haematoxylin[there]
            np.maximum(target, stamp[here], out=target)

    def _cells_of(self, box: Box) -> list[CellContents]:
        corner = np.array([box.x, box.y]) * self._mpp - _STAMP_REACH_UM
        size = np.array([box.width, box.height]) * self._mpp + 2 * _STAMP_REACH_UM
        return [self._cells.at(column, row) for column, row in cells_between(corner, size)]

    def _corner_px(
        self, centre_um: Points, shape: tuple[int, ...], box: Box
    ) -> tuple[int, int, int, int]:
        x, y = np.rint(centre_um / self._mpp).astype(int).tolist()
        height, width = shape
        return y - height // 2 - box.y, x - width // 2 - box.x, height, width

    def _tissue_alpha(self, box: Box) -> Alpha:
        outline, reach_um = self._plan.tissue, _WOBBLE_UM + _TISSUE_EDGE_UM
        middle = signed_distance(outline, self._middle_um(box))[0]
        if abs(middle) > reach_um + self._half_diagonal_um(box):
            return _uniform(middle > 0)
        depth = self._on_lattice(signed_distance(outline, self._nodes_um(box)), box)
        wobbly = depth + self._slow_nodes(slow_fields().wobble, box)
        return _alpha(self._between(wobbly, box) / np.float32(_TISSUE_EDGE_UM) + 0.5)

    def _tumor_alpha(self, box: Box) -> Alpha:
        plan = self._plan
        middle = region_distance(plan.tumors, plan.exclusions, self._middle_um(box))[0]
        if abs(middle) > _TUMOR_EDGE_UM + self._half_diagonal_um(box):
            return _uniform(middle > 0)
        depth = region_distance(plan.tumors, plan.exclusions, self._nodes_um(box))
        depth_px = self._between(self._on_lattice(depth, box), box)
        return _alpha(depth_px / np.float32(_TUMOR_EDGE_UM) + 0.5)

    def _fold_alpha(self, box: Box) -> Alpha:
        stroke = self._plan.fold
        return _uniform(False) if stroke is None else self._stroke_alpha(stroke, 8.0, box)

    def _pen_alpha(self, box: Box) -> Alpha:
        stroke = self._plan.pen
        return _uniform(False) if stroke is None else self._stroke_alpha(stroke, 3.0, box)

    def _stroke_alpha(self, stroke: Stroke, edge_um: float, box: Box) -> Alpha:
        middle = line_distance(stroke.line, self._middle_um(box))[0]
        if middle > stroke.half_width_um + _WOBBLE_UM + edge_um + self._half_diagonal_um(box):
            return _uniform(False)
        distance = self._on_lattice(line_distance(stroke.line, self._nodes_um(box)), box)
        wobbly = distance + 0.4 * self._slow_nodes(slow_fields().wobble, box)
        depth = np.float32(stroke.half_width_um) - self._between(wobbly, box)
        return _alpha(depth / np.float32(edge_um) + 0.5)

    def _disc_alpha(self, disc: Disc, box: Box) -> Alpha:
        middle = line_distance(np.stack([disc.centre, disc.centre]), self._middle_um(box))[0]
        if middle > disc.radius_um + _BLUR_EDGE_UM + self._half_diagonal_um(box):
            return _uniform(False)
        distance = line_distance(np.stack([disc.centre, disc.centre]), self._nodes_um(box))
        depth = np.float32(disc.radius_um) - self._between(self._on_lattice(distance, box), box)
        return _alpha(depth / np.float32(_BLUR_EDGE_UM))

    def _middle_um(self, box: Box) -> Points:
        return np.array([[box.x + box.width / 2, box.y + box.height / 2]]) * self._mpp

    def _half_diagonal_um(self, box: Box) -> float:
        """Return how far the lattice nodes around a block are from its middle, at most."""
        size = np.array([box.width, box.height]) * self._mpp / 2 + LATTICE_UM
        return float(np.hypot(*size))

    def _lattice(self, box: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows and columns of the lattice nodes around a block."""
        step = self._step_px
        rows = np.arange(box.y // step, (box.y + box.height - 1) // step + 2)
        columns = np.arange(box.x // step, (box.x + box.width - 1) // step + 2)
        return rows, columns

    def _nodes_um(self, box: Box) -> Points:
        rows, columns = self._lattice(box)
        y, x = np.meshgrid(rows * LATTICE_UM, columns * LATTICE_UM, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def _on_lattice(self, values: Distances, box: Box) -> Field:
        rows, columns = self._lattice(box)
        # Far outside an empty region the depth is -inf, which cannot be interpolated.
        return np.maximum(values, -1e6).astype(np.float32).reshape(len(rows), len(columns))

    def _slow_nodes(self, field: Field, box: Box) -> Field:
        rows, columns = self._lattice(box)
        return crop(field, rows + self._shift[1], columns + self._shift[0])

    def _slow(self, field: Field, box: Box) -> Field:
        return self._between(self._slow_nodes(field, box), box)

    def _between(self, nodes: Field, box: Box) -> Field:
        """Return lattice values interpolated at every pixel of a block."""
        step = self._step_px
        part = (np.arange(step) / step).astype(np.float32)
        top, left = box.y % step, box.x % step
        down = nodes[:-1, None] + (nodes[1:] - nodes[:-1])[:, None] * part[:, None]
        down = down.reshape(-1, nodes.shape[1])[top : top + box.height]
        across = down[:, :-1, None] + (down[:, 1:] - down[:, :-1])[:, :, None] * part
        return across.reshape(len(down), -1)[:, left : left + box.width]

    def _crop(self, texture: NDArray[Any], box: Box) -> NDArray[Any]:
        y = np.arange(box.y, box.y + box.height) + self._shift[1]
        x = np.arange(box.x, box.x + box.width) + self._shift[0]
        return crop(texture, y, x)


def _alpha(share: NDArray[np.floating[Any]]) -> Alpha:
    return np.asarray(np.clip(share * np.float32(256.0), 0.0, 256.0), dtype=np.uint16)


def _uniform(full: bool | np.bool_) -> Alpha:
    return np.full((1, 1), 256 if full else 0, np.uint16)


def _mixed(below: NDArray[Any], above: NDArray[Any], alpha: NDArray[Any]) -> Stain:
    """Return ``above`` over ``below``."""
    return np.asarray((below * (np.uint16(256) - alpha) + above * alpha) >> 8, dtype=np.uint16)


def _channels(packed: Packed) -> NDArray[np.uint8]:
    """Return packed colours as ``(height, width, 4)``: red, green, blue and nothing."""
    return packed.astype("<u4", copy=False).view(np.uint8).reshape(*packed.shape, 4)


def _defocussed(light: Packed, alpha: Alpha, halo: int) -> Packed:
    """Return the inner part of a block, blurred where alpha says so."""
    inner = np.s_[halo:-halo, halo:-halo]
    sharp = _channels(light)
    mixed = np.zeros_like(sharp[inner])
    for channel in range(3):
        # ``halo`` is three standard deviations.
        blurred = ndimage.gaussian_filter(
            sharp[:, :, channel].astype(np.float32), halo / 3, radius=halo
        )
        mixed[:, :, channel] = _mixed(
            sharp[inner][:, :, channel], np.rint(blurred[inner]).astype(np.uint16), alpha
        )
    return np.asarray(mixed.view("<u4")[:, :, 0])


def _inked(rgb: NDArray[np.uint8], pen: Stroke | None, alpha: Alpha) -> NDArray[np.uint8]:
    """Return contiguous pixels with a pen's ink over them, through which a quarter still shows."""
    if pen is None or not alpha.any():
        return np.ascontiguousarray(rgb)
    cover = np.asarray(alpha * np.uint16(3) >> 2)[:, :, None]
    ink = np.array(pen.ink, np.uint16)
    return _mixed(rgb, ink, cover).astype(np.uint8)


def _overlap(
    stamp: tuple[int, int, int, int], box: Box
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a stamp falls on a block: slices of the block and of the stamp.

    Args:
        stamp: Top, left, height and width, pixels from the block's top-left corner.
        box: The block.

    Returns:
        Slices ``[y, x]`` of equal size; empty when the stamp misses the block.
    """
    there: list[slice] = []
    here: list[slice] = []
    for start, size, limit in zip(stamp[:2], stamp[2:], (box.height, box.width), strict=True):
        low, high = max(start, 0), max(min(start + size, limit), 0)
        there.append(slice(low, max(high, low)))
        here.append(slice(low - start, max(high, low) - start))
    return (there[0], there[1]), (here[0], here[1])


def boxes_of_row(y: int, height: int, *, width: int, block_px: int) -> Iterable[Box]:
    """Return the blocks of one row, left to right; the last is cut at ``width``."""
    for x in range(0, width, block_px):
        yield Box(x, y, min(block_px, width - x), height)

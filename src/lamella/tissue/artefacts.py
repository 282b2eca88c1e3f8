"""What spoils a slide and shows in its overview: pen marks, scanning gaps, folds."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold
from skimage.measure import label, regionprops
from skimage.morphology import remove_small_objects

from lamella.tissue.bands import in_bands
from lamella.tissue.overview import GLASS, Area, Overview

Floats = NDArray[np.float32]

_AROUND = np.ones((3, 3), dtype=bool)
_SMALLEST_PEN_UM2 = 5_000.0
_BLACK_INK = 105
_PALEST_INK = 0.30
_BLACKEST = 10
_SMALLEST_GAP_PX = 5
_FOLD_CORE, _FOLD_EDGE = 1.4, 1.25
_FOLD_LENGTH_UM = 200.0
_FOLD_ELONGATION = 4.0
_FOLD_SIDE_UM = 72.0
_FOLD_SIGMA_UM, _SIDE_SIGMA_UM = 8.0, 16.0
_SAME_HUE = math.cos(math.radians(3.5))
_PALER_SIDE = 0.5
# Natural logarithm, summed over three channels: a tenth of the light is absorbed.
_PALEST_TISSUE = 0.3
_DIRECTIONS = 8
_LEAST_WEIGHT = np.float32(1e-6)


def pen_marks(overview: Overview, cell_um: float) -> Area:
    """Return where ink of a red, green, blue or black pen covers the slide.

    Red ink is told from eosin by its saturation: what is clearly ink, and what is paler and of
    the same hue beside it. Green and blue are hues that H&E does not have. Black is dark without
    colour. Spots below 5,000 square microns, the size of pigment or of dark nuclei, are no pen.

    Args:
        overview: The whole slide.
        cell_um: Edge length of a pixel in microns.

    Source:
        Rules on colour for the pens that pathologists use: histolab, Marcolini et al., SoftwareX
        20, 2022, doi:10.1016/j.softx.2022.101237; the ranges are our own, chosen on the examples
        of HistoQC, Janowczyk et al., JCO Clin. Cancer Inform. 3, 2019, doi:10.1200/CCI.18.00157.
    """
    kinds = in_bands(_inks, overview)
    red, pale_red, other = kinds[:, :, 0], kinds[:, :, 1], kinds[:, :, 2]
    core = ndimage.binary_opening(red, np.ones((2, 2)))
    ink = ndimage.binary_propagation(core, structure=_AROUND, mask=pale_red) | other
    smallest_px = int(_SMALLEST_PEN_UM2 / cell_um**2)
    strokes = remove_small_objects(ink, max_size=smallest_px, connectivity=2)
    # The border of a stroke is a mixture of ink and glass.
    marks: Area = ndimage.binary_dilation(strokes, _AROUND)
    return marks


def scanning_gaps(overview: Overview) -> Area:
    """Return where the scanner left out a part: pure black or pure white, 5 pixels and wider.

    Glass is never pure white over such a square, unless the scanner clips it; then it is no
    tissue either, but counts as glass where a threshold is decided.
    """
    gaps: Area = in_bands(_without_signal, overview, halo=_SMALLEST_GAP_PX)
    return gaps


def folds(overview: Overview, tissue: Area, cell_um: float) -> Area:
    """Return where tissue lies on tissue: long straight lines of its own colour, but denser.

    By the law of Beer and Lambert two layers absorb twice as much as one and keep its hue, while
    dark epithelium holds more haematoxylin than its surroundings. So optical density is compared
    with that of the tissue on both sides, 72 µm away, in the direction in which they are palest:
    at least 1.25 times the darker side and somewhere 1.4 times, within 3.5 degrees of its hue.
    Folds wider than 100 µm or bent by much are not found.

    Args:
        overview: The whole slide.
        tissue: ``[y, x]`` tissue found.
        cell_um: Edge length of a pixel in microns.

    Source:
        Two thresholds, and a fold told by what it adds to the colour of unfolded tissue: Kothari
        et al., J. Pathol. Inform. 4, 2013, doi:10.4103/2153-3539.117448; optical density and its
        direction: Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23, 2001 (PMID 11531144).
        Thresholds are our own: below 2, as light that scatters past dark tissue makes its
        density look smaller, and as a fold is seldom double over all its width.
    """

    def strength(part: Overview, tissue_part: Area) -> Floats:
        return _fold_strength(part, tissue_part, cell_um)

    halo = math.ceil((_FOLD_SIDE_UM + 5 * _SIDE_SIGMA_UM) / cell_um) + 1
    doubled = in_bands(strength, overview, tissue, halo=halo)
    parts = label(apply_hysteresis_threshold(doubled, _FOLD_EDGE, _FOLD_CORE))
    length_px = _FOLD_LENGTH_UM / cell_um
    lines = [part.label for part in regionprops(parts) if _is_line(part, length_px)]
    return np.isin(parts, lines)


def _is_line(part: Any, length_px: float) -> bool:
    length = part.axis_major_length
    return bool(length >= max(length_px, _FOLD_ELONGATION * part.axis_minor_length))


def _inks(overview: Overview) -> Area:
    """Return ``[y, x, kind]``: surely red ink, perhaps red ink, ink of another colour."""
    value, least = overview.max(axis=2), overview.min(axis=2)
    # Glass and pale tissue are no ink of any kind; the rest is looked at one by one.
    may_be = (value < _BLACK_INK) | (least <= (1 - _PALEST_INK) * value.astype(np.float32))
    hue, saturation, brightness = _hsv(overview[may_be])
    red = ((hue >= 340) | (hue <= 12)) & (saturation >= 0.68)
    pale_red = ((hue >= 335) | (hue <= 20)) & (saturation >= 0.40)
    green = (hue >= 70) & (hue < 200) & (saturation >= _PALEST_INK)
    blue = (hue >= 200) & (hue <= 238) & (saturation >= 0.42)
    black = (brightness < _BLACK_INK) & (saturation * brightness < 28)
    # The hue of what is nearly black is noise.
    lit = brightness >= 40
    kinds = np.zeros((*value.shape, 3), dtype=bool)
    kinds[may_be] = np.stack([red & lit, pale_red, black | ((green | blue) & lit)], axis=1)
    return kinds


def _hsv(colours: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    """Return hue in degrees, saturation in 0–1 and value in grey levels of ``(n, 3)`` colours."""
    red, green, blue = colours.T.astype(np.float32)
    value = colours.max(axis=1).astype(np.float32)
    chroma = value - colours.min(axis=1)
    divisor = np.maximum(chroma, 1)
    sextant = np.where(
        value == red,
        (green - blue) / divisor % 6,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return np.float32(60) * sextant, chroma / np.maximum(value, 1), value


def _without_signal(overview: Overview) -> Area:
    gaps = np.zeros(overview.shape[:2], dtype=bool)
    for kind in (overview.max(axis=2) < _BLACKEST, overview.min(axis=2) == 255):
        if kind.any():
            gaps |= ndimage.binary_opening(kind, np.ones((_SMALLEST_GAP_PX,) * 2))
    return gaps


def _fold_strength(overview: Overview, tissue: Area, cell_um: float) -> Floats:
    """Return how many times as dense as its sides tissue is; 0 where its hue is another."""
    density = -np.log(np.clip(overview, 1, GLASS, dtype=np.float32) / np.float32(GLASS))
    here = _blurred(density, _FOLD_SIGMA_UM / cell_um)
    # Glass is no side, and dilutes none: the middle of a strand is no denser than the strand.
    side_px = _SIDE_SIGMA_UM / cell_um
    weight = np.maximum(_blurred(tissue[:, :, None].astype(np.float32), side_px), _LEAST_WEIGHT)
    beside = _blurred(density * tissue[:, :, None], side_px) / weight
    sides = np.where(tissue, beside.sum(axis=2), np.float32(np.nan))
    darker, offset = _sides(sides, _FOLD_SIDE_UM / cell_um)
    times = here.sum(axis=2) / np.maximum(darker, np.float32(_PALEST_TISSUE))
    dense = np.flatnonzero(tissue & (times >= _FOLD_EDGE))
    like = _cosine(here.reshape(-1, 3)[dense], beside.reshape(-1, 3)[dense + offset[dense]])
    strength = np.zeros(tissue.size, dtype=np.float32)
    strength[dense] = np.where(like >= _SAME_HUE, times.ravel()[dense], 0)
    return strength.reshape(tissue.shape)


def _blurred(channels: Floats, sigma_px: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(channels, (sigma_px, sigma_px, 0)))


def _sides(density: Floats, distance_px: float) -> tuple[Floats, NDArray[np.int32]]:
    """Look at both sides of every pixel, in the direction in which the darker one is palest.

    Args:
        density: ``[y, x]``, NaN where there is no tissue.
        distance_px: From a pixel to its side.

    Returns:
        ``[y, x]`` density of the darker side, infinite where no direction has tissue of like
        density on both; and ``(pixels,)`` how many pixels further that side is, row by row.
    """
    rows, columns = density.shape
    reach = math.ceil(distance_px)
    # No comparison with NaN holds; beyond the border nothing is known.
    padded = np.pad(density, reach, constant_values=np.nan)
    darker = np.full_like(density, np.inf)
    offset = np.zeros(density.shape, dtype=np.int32)
    for angle in np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS:
        dy, dx = round(distance_px * np.sin(angle)), round(distance_px * np.cos(angle))
        one, other = (
            padded[reach + y : reach + y + rows, reach + x : reach + x + columns]
            for y, x in ((dy, dx), (-dy, -dx))
        )
        dark = np.maximum(one, other)
        better = (dark < darker) & (np.minimum(one, other) >= _PALER_SIDE * dark)
        np.copyto(darker, dark, where=better)
        np.copyto(offset, np.where(one >= other, 1, -1) * (dy * columns + dx), where=better)
    return darker, offset.ravel()


def _cosine(one: Floats, other: Floats) -> Floats:
    """Return the cosines of the angles between ``(n, 3)`` vectors; 0 where one is 0."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.maximum(lengths, np.float32(1e-6)))

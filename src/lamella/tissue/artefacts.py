"""What spoils a slide and shows in its overview: pen marks, scanning gaps, folds.

All functions take an overview, ``(rows, columns, 3)`` uint8, RGB, and return ``[y, x]`` bool.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold
from skimage.measure import label, regionprops
from skimage.morphology import remove_small_objects

from lamella.tissue.bands import in_bands

Overview = NDArray[np.uint8]
Area = NDArray[np.bool_]
Floats = NDArray[np.float32]

_AROUND = np.ones((3, 3), dtype=bool)
_SMALLEST_PEN_UM2 = 5_000.0
_BLACK_INK = 105
_PALEST_INK = 0.30
_BLACKEST = 10
_SMALLEST_GAP_PX = 5
_FOLD_SURROUNDINGS_UM = 250.0
_FOLD_CORE, _FOLD_EDGE = 0.30, 0.12
_FOLD_LENGTH_UM = 200.0
_FOLD_ELONGATION = 3.0


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
    """Return where tissue lies on tissue: long, more saturated and darker than its surroundings.

    The measure is saturation minus intensity, against its mean within 250 µm: a fold is a line,
    a tumour is not. Dark lines that belong to the tissue, such as epidermis, look the same.

    Args:
        overview: The whole slide.
        tissue: ``[y, x]`` tissue found.
        cell_um: Edge length of a pixel in microns.

    Source:
        Saturation minus intensity: Bautista and Yagi, J. Pathol. Inform. 1, 2010,
        doi:10.4103/2153-3539.73320. Surroundings, thresholds and shape are our own.
    """
    window = max(3, round(_FOLD_SURROUNDINGS_UM / cell_um))

    def excess(part: Overview, tissue_part: Area) -> Floats:
        return _fold_excess(part, tissue_part, window)

    strength = in_bands(excess, overview, tissue, halo=window)
    dark = apply_hysteresis_threshold(strength, _FOLD_EDGE, _FOLD_CORE) & tissue
    length_px = _FOLD_LENGTH_UM / cell_um
    parts = label(remove_small_objects(dark, max_size=int(length_px), connectivity=2))
    lines = [part.label for part in regionprops(parts) if _is_line(part, length_px)]
    return np.isin(parts, lines)


def _is_line(part: Any, length_px: float) -> bool:
    length = part.axis_major_length
    return bool(length >= length_px and length**2 >= _FOLD_ELONGATION * part.area)


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


def _fold_excess(overview: Overview, tissue: Area, window: int) -> Floats:
    """Return by how much saturation minus intensity is above the tissue around."""
    value = overview.max(axis=2).astype(np.float32)
    saturation = (value - overview.min(axis=2)) / np.maximum(value, 1)
    intensity = overview.mean(axis=2, dtype=np.float32) / np.float32(255)
    measure = np.where(tissue, saturation - intensity, 0).astype(np.float32)
    weight = tissue.astype(np.float32)
    near = ndimage.gaussian_filter(measure, 1) / np.maximum(
        ndimage.gaussian_filter(weight, 1), np.float32(0.3)
    )
    around = ndimage.uniform_filter(measure, window) / np.maximum(
        ndimage.uniform_filter(weight, window), np.float32(1e-3)
    )
    return np.asarray(np.where(tissue, near - around, 0), dtype=np.float32)

"""The methods by which tissue is told from glass: pure functions of an overview.

The area that a method returns is all False on a slide without tissue.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.filters.rank import median
from skimage.morphology import disk, remove_small_objects

from lamella.tissue.bands import in_bands
from lamella.tissue.overview import GLASS, Area, Overview
from lamella.tissue.settings import TissueMethod, TissueSettings

# Otsu splits noise by 1.6 of its standard deviations; 12 is that of 7.5 grey levels, more than an
# overview has.
_LEAST_CONTRAST = 12.0
_WHITE = 255
_WHITE_DISTANCE = 85
_CLOSING_PX = 9
_MEDIAN_PX = 7


def find_tissue(
    overview: Overview, cell_um: float, settings: TissueSettings, *, usable: Area
) -> Area:
    """Return the tissue of a slide by the method of the settings, without holes and dust.

    Args:
        overview: The whole slide.
        cell_um: Edge length of a pixel in microns.
        settings: Method, radius and areas.
        usable: ``[y, x]``, False where the slide shows neither tissue nor glass, such as under
            a pen; it is never tissue. Thresholds are decided without it, but with pure white:
            that may be all the glass of a slide whose scanner clips it.
    """
    judged = usable | (overview.min(axis=2) == _WHITE)
    found = _METHODS[settings.method](overview, judged)
    if settings.method is not TissueMethod.DISTANCE:
        found = _dilated(found, round(settings.dilate_um / cell_um))
    hole_px = int(settings.max_hole_um2 / cell_um**2)
    dust_px = int(settings.min_area_um2 / cell_um**2)
    kept: Area = remove_small_objects(_filled(found, hole_px) & usable, max_size=dust_px)
    return kept


def otsu_tissue(overview: Overview, usable: Area) -> Area:
    """Return where the slide is darker than Otsu's threshold of its grey image.

    Pure white counts as glass of ordinary brightness: beside a part that was not scanned, other
    glass is no tissue.

    Source:
        Otsu, IEEE Trans. SMC 9(1), 1979, doi:10.1109/TSMC.1979.4310076.
    """
    grey = np.asarray(Image.fromarray(overview).convert("L"))
    counted = np.where(grey == _WHITE, np.uint8(GLASS), grey)
    threshold = _threshold(counted[usable])
    return usable & (grey <= threshold) if threshold is not None else np.zeros_like(usable)


def saturation_tissue(overview: Overview, usable: Area) -> Area:
    """Return where the slide is more saturated than Otsu's threshold of its HSV saturation.

    Source:
        Saturation, median of 7 pixels, then Otsu: CLAM, Lu et al., Nat. Biomed. Eng. 5, 2021,
        doi:10.1038/s41551-020-00682-w.
    """
    around = np.ones((_MEDIAN_PX, _MEDIAN_PX), dtype=np.uint8)
    smooth = median(in_bands(_saturation, overview), around)
    threshold = _threshold(smooth[usable])
    return usable & (smooth > threshold) if threshold is not None else np.zeros_like(usable)


def distance_tissue(overview: Overview, usable: Area) -> Area:
    """Return where the colour is far from white, closed with a disk of 9 pixels across.

    Source:
        The tissue segmentation of FAST, with its defaults: Smistad, Østvik and Pedersen, IEEE
        Access 7, 2019, doi:10.1109/ACCESS.2019.2942441.
    """
    far = in_bands(_far_from_white, overview) & usable
    grown = _dilated(far, _CLOSING_PX // 2)
    # What lies beyond the border is unknown and does not eat into the tissue.
    return ~_dilated(~grown, _CLOSING_PX // 2)


_METHODS: dict[TissueMethod, Callable[[Overview, Area], Area]] = {
    TissueMethod.OTSU: otsu_tissue,
    TissueMethod.SATURATION: saturation_tissue,
    TissueMethod.DISTANCE: distance_tissue,
}


def _threshold(values: NDArray[np.uint8]) -> float | None:
    """Return Otsu's threshold; ``None`` where all is of one kind, as on blank glass."""
    if values.size == 0 or values.min() == values.max():
        return None
    threshold = float(threshold_otsu(values))
    low, high = values[values <= threshold], values[values > threshold]
    return threshold if high.mean() - low.mean() >= _LEAST_CONTRAST else None


def _saturation(overview: Overview) -> NDArray[np.uint8]:
    brightest = overview.max(axis=2).astype(np.int32)
    chroma = brightest - overview.min(axis=2)
    return np.asarray(chroma * 255 // np.maximum(brightest, 1), dtype=np.uint8)


def _far_from_white(overview: Overview) -> Area:
    # The square of 255 just fits 16 bits, the sum of three does not.
    red, green, blue = np.moveaxis(np.square(~overview, dtype=np.uint16), 2, 0)
    return np.asarray(red.astype(np.uint32) + green + blue > _WHITE_DISTANCE**2)


def _filled(area: Area, hole_px: int) -> Area:
    """Fill holes up to a size; glass that reaches the border is no hole, however small it is."""
    whole = ndimage.binary_fill_holes(area)
    return np.asarray(whole & ~remove_small_objects(whole & ~area, max_size=hole_px))


def _dilated(area: Area, radius: int) -> Area:
    """Dilate with a disk, row by row of it: ndimage, for any shape, takes several times as long."""
    height, width = area.shape
    beside = np.pad(area, radius)
    run = beside[:, radius : radius + width]
    reach = disk(radius).sum(axis=1) // 2
    found = np.zeros_like(area)
    for half in range(radius + 1):
        run = run | beside[:, radius - half :][:, :width] | beside[:, radius + half :][:, :width]
        for down in np.flatnonzero(reach == half):
            found |= run[down : down + height]
    return found

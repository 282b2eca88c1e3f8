"""Pixels of a slide's tissue at the resolution of its patches, to fit its stain to."""

import numpy as np
from numpy.typing import NDArray

from lamella.patches.sample import grid_corners
from lamella.slides.reader import SlideReader
from lamella.slides.resolution import ReadPlan
from lamella.tissue.mask import TissueMask

_WINDOWS = 64
_PIXELS_PER_WINDOW = 8000
_ENOUGH_TISSUE = 0.5


def tissue_pixels(reader: SlideReader, mask: TissueMask, plan: ReadPlan) -> NDArray[np.uint8]:
    """Return pixels of windows that are drawn from all over the tissue of a slide.

    Not those of an overview: means over several microns have less stain than the nuclei in them.
    On a real slide the amounts of stain that Macenko's method scales by were 1.6 and 1.5 at 8 µm,
    2.4 and 2.1 at 1 µm.

    Args:
        reader: The slide.
        mask: Its tissue; pixels beside it are left out.
        plan: How patches are read.

    Returns:
        ``(n, 3)`` uint8, RGB, the same for the same slide, mask and plan.
    """
    x, y = grid_corners(reader.size_l0, plan.edge_l0, plan.edge_l0)
    shares = mask.shares(x, y, plan.edge_l0)
    enough = (shares >= min(_ENOUGH_TISSUE, shares.max(initial=0.0))) & (shares > 0)
    # Drawn: every k-th window of the grid could be one column of it.
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(enough))[:_WINDOWS]
    parts = [np.empty((0, 3), dtype=np.uint8)]
    for place in np.sort(drawn):
        left, top = int(x[place]), int(y[place])
        patch = reader.read_patch(left, top, plan)
        pixels = patch[_tissue(mask, left, top, plan)]
        parts.append(pixels[:: max(1, len(pixels) // _PIXELS_PER_WINDOW)])
    return np.concatenate(parts)


def _tissue(mask: TissueMask, left: int, top: int, plan: ReadPlan) -> NDArray[np.bool_]:
    """Return which pixels of a patch are tissue, by the middle of each."""
    middles = (np.arange(plan.size_px) + 0.5) * plan.edge_l0 / plan.size_px
    rows, columns = (((start + middles) // mask.cell_l0).astype(np.int64) for start in (top, left))
    inside: NDArray[np.bool_] = mask.pixels[np.ix_(rows, columns)]
    return inside

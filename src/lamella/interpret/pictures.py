"""A patch and its map, side by side."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

_COLOURS = (colormaps["inferno"](np.linspace(0.0, 1.0, 256))[:, :3] * 255).round()
_OPACITY = 0.65
_GAP_PX = 6
_EDGE_PX = 224


def draw_explanation(patch: NDArray[np.uint8], cam: NDArray[np.float32]) -> Image.Image:
    """Return the patch at the left and the patch with its map in colour at the right.

    The stronger the map, the more colour covers the tissue; where it is 0 the tissue is unchanged.

    Args:
        patch: ``[y, x, channel]`` uint8, RGB.
        cam: ``[y, x]`` in ``[0, 1]``.
    """
    opacity = _OPACITY * cam[:, :, None].astype(np.float64)
    colours = _COLOURS[np.rint(cam * 255).astype(np.int64)]
    overlaid = (1 - opacity) * patch + opacity * colours
    height, width = patch.shape[:2]
    factor = max(1, round(_EDGE_PX / width))
    parts = [_enlarged(each, factor) for each in (patch, overlaid.round().astype(np.uint8))]
    page = Image.new("RGB", (2 * width * factor + _GAP_PX, height * factor), "white")
    page.paste(parts[0], (0, 0))
    page.paste(parts[1], (width * factor + _GAP_PX, 0))
    return page


def _enlarged(pixels: NDArray[np.uint8], factor: int) -> Image.Image:
    height, width = pixels.shape[:2]
    size = (width * factor, height * factor)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)

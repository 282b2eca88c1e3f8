"""Work over a large image in bands of rows, so that memory stays bounded."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BAND_PIXELS = 4_000_000

Work = Callable[..., NDArray[Any]]


def in_bands(
    work: Work, *images: NDArray[Any], halo: int = 0, band_px: int = _BAND_PIXELS
) -> NDArray[Any]:
    """Return ``work(*images)``, computed in bands of rows.

    Args:
        work: Makes of images ``[y, x, …]`` one of as many rows and columns; a row of it depends
            on ``halo`` rows above and below at most.
        images: Of equal height and width.
        halo: How many rows a band looks at beyond itself.
        band_px: Pixels of a band.
    """
    height, width = images[0].shape[:2]
    rows = max(1, band_px // max(width, 1), 2 * halo)
    parts = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(top - halo, 0), min(bottom + halo, height)
        part = work(*(image[first:last] for image in images))
        parts.append(part[top - first : bottom - first])
    return np.concatenate(parts)

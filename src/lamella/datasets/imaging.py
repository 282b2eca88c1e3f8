"""What a microscope, a camera and a file do to a picture: blur, noise, compression, loss."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.stores.jpeg import decode_jpeg, encode_jpeg


def blurred(planes: NDArray[np.float32], deviation_px: float) -> NDArray[np.float32]:
    """Return a patch ``(3, height, width)`` out of focus: Gaussian blur, mirrored border."""
    changed: NDArray[np.float32] = gaussian_filter(
        planes, (0, deviation_px, deviation_px), truncate=3.0
    )
    return changed


def noisy(
    planes: NDArray[np.float32], levels: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return a patch ``(3, height, width)`` with Gaussian noise of a standard deviation."""
    noise: NDArray[np.float32] = generator.standard_normal(planes.shape, dtype=np.float32)
    noise *= np.float32(levels)
    noise += planes
    return noise


def recompressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return a patch ``(height, width, 3)`` after it was a JPEG with halved colours (4:2:0)."""
    changed = np.empty_like(image)
    decode_jpeg(encode_jpeg(image, quality, subsampling="420", own_tables=False), changed)
    return changed


def with_holes(
    image: NDArray[np.uint8], corners: NDArray[np.int64], edge_px: int
) -> NDArray[np.uint8]:
    """Return a patch some squares of which have its mean colour.

    Args:
        image: ``(height, width, 3)`` uint8, RGB.
        corners: ``(k, 2)`` top left corners ``(x, y)``.
        edge_px: Edge length of the squares.

    Source:
        DeVries and Taylor, 2017, doi:10.48550/arXiv.1708.04552.
    """
    # One axis after the other: both at once take twenty times as long.
    colour = np.rint(image.mean(axis=0).mean(axis=0)).astype(np.uint8)
    changed = image.copy()
    for x, y in corners.tolist():
        changed[y : y + edge_px, x : x + edge_px] = colour
    return changed

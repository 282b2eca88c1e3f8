"""A clip and a volume, drawn where none is given: of the size and range of real ones."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_FRAME_PX = 400
_AIR_HU, _TISSUE_HU, _LUNG_HU, _NODULE_HU = -1000, 40, -860, 20
_NOISE_HU = 25.0


def draw_clip(frames: int, seed: int) -> NDArray[np.uint8]:
    """Return a vessel that beats below speckle, ``(frames, 400, 400)``.

    Args:
        frames: Number of frames.
        seed: Seed of the speckle.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:_FRAME_PX, :_FRAME_PX] / _FRAME_PX
    clip = np.empty((frames, _FRAME_PX, _FRAME_PX), dtype=np.uint8)
    for number in range(frames):
        radius = 0.16 + 0.03 * np.sin(number / 4)
        inside = np.hypot((x - 0.55) / 1.3, y - 0.45) < radius
        tissue = np.where(inside, 12.0, 150.0 * np.exp(-1.2 * y))
        # Speckle multiplies, and its amplitude follows Rayleigh's distribution.
        speckle = generator.rayleigh(0.8, size=tissue.shape)
        clip[number] = np.clip(tissue * speckle, 0, 255)
    return clip


def draw_volume(shape_zyx: tuple[int, int, int], seed: int) -> Iterator[NDArray[np.int16]]:
    """Yield the slices of a chest in Hounsfield units, ``(height, width)`` each.

    Args:
        shape_zyx: Slices, rows and columns.
        seed: Seed of the noise.
    """
    generator = np.random.default_rng(seed)
    depth, height, width = shape_zyx
    y, x = np.mgrid[:height, :width]
    y, x = y / height - 0.5, x / width - 0.5
    for number in range(depth):
        z = number / depth - 0.5
        slice_hu = np.full((height, width), _AIR_HU, dtype=np.float64)
        slice_hu[np.hypot(x / 0.46, y / 0.36) < 1] = _TISSUE_HU
        for side in (-1, 1):
            lung = np.sqrt(((x - side * 0.2) / 0.15) ** 2 + (y / 0.24) ** 2 + (z / 0.45) ** 2) < 1
            slice_hu[lung] = _LUNG_HU
            nodule = np.sqrt((x - side * 0.22) ** 2 + (y - 0.05) ** 2 + (z - side * 0.1) ** 2)
            slice_hu[nodule < 0.02] = _NODULE_HU
        slice_hu += generator.normal(0.0, _NOISE_HU, size=slice_hu.shape)
        yield np.clip(slice_hu.round(), -1024, 3071).astype(np.int16)

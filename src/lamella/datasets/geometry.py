"""Changes of place: a map from the pixels of the new patch to places in the old one."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from torch.nn.functional import grid_sample

_DEGREE = 3


def viewed(image: NDArray[np.uint8], *, mirror: bool, turns: int) -> NDArray[np.uint8]:
    """Return a patch mirrored from left to right, then turned counter-clockwise by right angles."""
    if not mirror and turns == 0:
        return image
    changed = np.empty_like(image)
    # Channel by channel: whole pixels of three bytes take five times as long.
    for channel in range(image.shape[2]):
        plane = image[..., channel]
        changed[..., channel] = np.rot90(plane[:, ::-1] if mirror else plane, turns)
    return changed


def turn_and_scale(angle_deg: float, factor: float) -> NDArray[np.float64]:
    """Return the matrix ``(2, 2)`` from new to old places ``(x, y)`` about the centre.

    Args:
        angle_deg: The picture is turned by this, counter-clockwise.
        factor: And enlarged by this; below 1 it shrinks.
    """
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]]) / factor


def source_places(size: int, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return where the pixels of a square come from.

    Args:
        size: Edge length in pixels.
        matrix: ``(2, 2)`` from new to old places about the centre.

    Returns:
        ``(2, size, size)`` float32: x and y of the place, in pixels, 0 at the first pixel's centre.
    """
    middle = (size - 1) / 2
    offset = np.arange(size) - middle
    # Two edges are added up: a product with all pixels takes three times as long.
    along_x, along_y = matrix.T[:, :, None] * offset
    places: NDArray[np.float32] = (along_x[:, None, :] + along_y[:, :, None] + middle).astype(
        np.float32
    )
    return places


def elastic_shifts(
    size: int, spacing_px: float, control: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the smooth field between the shifts of control points: a cubic B-spline.

    No shift is larger than the largest of the control points.

    Args:
        size: Edge length of the square in pixels.
        spacing_px: Distance of the control points; the second lies on the first pixel.
        control: ``(2, k, k)`` their shifts along x and y; ``k`` is ``control_points``.

    Returns:
        ``(2, size, size)`` float32.

    Source:
        Rueckert et al., IEEE TMI 18(8), 1999, doi:10.1109/42.796284.
    """
    weights = _spline_weights(size, spacing_px)
    return weights @ control.astype(np.float32) @ weights.T


def control_points(size: int, spacing_px: float) -> int:
    """Return how many control points an edge needs, those outside of it included."""
    return math.ceil((size - 1) / spacing_px) + _DEGREE


@lru_cache(maxsize=4)
def _spline_weights(size: int, spacing_px: float) -> NDArray[np.float32]:
    """Return ``(size, k)``: how much each control point counts at each pixel; rows sum to 1."""
    knots = spacing_px * np.arange(-_DEGREE, control_points(size, spacing_px) + 1)
    weights = BSpline.design_matrix(np.arange(size, dtype=np.float64), knots, _DEGREE)
    dense: NDArray[np.float32] = weights.toarray().astype(np.float32)
    return dense


def resampled(planes: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a square whose pixels come from other places, linearly between four pixels.

    Beyond its border the square goes on mirrored, the border pixel twice.

    Args:
        planes: ``(channels, size, size)`` float32.
        places: ``(2, size, size)`` x and y, in pixels, as ``source_places`` gives them.
    """
    # torch: a seventh of the time of scipy's map_coordinates. It wants -1 to 1, border to border.
    grid = np.moveaxis((2 * places + 1) / planes.shape[-1] - 1, 0, -1)
    changed: NDArray[np.float32] = grid_sample(
        torch.from_numpy(planes)[None],
        torch.from_numpy(np.ascontiguousarray(grid, dtype=np.float32))[None],
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )[0].numpy()
    return changed

"""Stain normalisation after Macenko: amounts of haematoxylin and eosin are kept, their colours not.

Source:
    Macenko et al., ISBI 2009, doi:10.1109/ISBI.2009.5193250. White level, thresholds and reference
    as in Veta's implementation, whose published results our tests compare with.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHITE = 240.0
"""Grey level of light that passes no tissue."""

_CLEAR_OD = 0.15
_EXTREME_PERCENT = 1.0
_MOST_PERCENT = 99.0
_WORST_CONDITION = 100.0


@dataclass(frozen=True)
class Stains:
    """The stains of an image.

    Attributes:
        colours: ``[channel, stain]`` optical density of haematoxylin and eosin, unit length.
        most: ``(2,)`` amount of each stain that 99 % of the pixels stay below.
    """

    colours: NDArray[np.float64]
    most: NDArray[np.float64]


REFERENCE = Stains(
    colours=np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]]),
    most=np.array([1.9705, 1.0308]),
)
"""The published reference."""


def optical_density(pixels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the natural-logarithm optical density, 0 at a grey level of 239."""
    density: NDArray[np.float64] = -np.log((pixels.astype(np.float64) + 1) / WHITE)
    return density


def stained(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels that no channel shows as clear, ``(m, 3)`` of ``(n, 3)``."""
    return pixels[(optical_density(pixels) >= _CLEAR_OD).all(axis=1)]


def estimate_stains(pixels: NDArray[np.uint8]) -> Stains | None:
    """Return the stains of tissue pixels.

    Args:
        pixels: ``(n, 3)`` uint8, RGB, at least two of them stained.

    Returns:
        ``None`` where two stains cannot be told apart, as in a picture of one colour.
    """
    density = optical_density(stained(pixels))
    _, vectors = np.linalg.eigh(np.cov(density.T))
    plane = vectors[:, 1:]
    # An eigenvector may as well point backwards, which would tear the angles apart at 180 degrees.
    plane = plane * np.where((density @ plane).mean(axis=0) < 0, -1.0, 1.0)
    angles = np.arctan2(*(density @ plane).T[::-1])
    extremes = np.percentile(angles, [_EXTREME_PERCENT, 100 - _EXTREME_PERCENT])
    first, second = (plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in extremes)
    # Haematoxylin takes more red.
    colours = np.stack([first, second] if first[0] > second[0] else [second, first], axis=1)
    if np.linalg.cond(colours) > _WORST_CONDITION:
        return None
    amounts = np.linalg.pinv(colours) @ optical_density(pixels).T
    most = np.percentile(amounts, _MOST_PERCENT, axis=1)
    return Stains(colours, most) if (most > 0).all() else None


def density_matrix(source: Stains, target: Stains) -> NDArray[np.float64]:
    """Return the matrix that turns optical densities of the source into those of the target."""
    matrix: NDArray[np.float64] = (
        target.colours @ np.diag(target.most / source.most) @ np.linalg.pinv(source.colours)
    )
    return matrix

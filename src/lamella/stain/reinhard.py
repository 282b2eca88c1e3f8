"""Colour transfer after Reinhard: mean and spread of each axis of the space lαβ are made equal.

Source:
    Reinhard et al., IEEE CG&A 21(5), 2001, doi:10.1109/38.946629, with natural logarithms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LMS_OF_RGB = np.array(
    [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
)
"""Responses of the eye's cones to red, green and blue."""

LAB_OF_LOG_LMS = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array(
    [[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]]
)
"""The axes l, α and β of the cones' logarithms."""


@dataclass(frozen=True)
class Colours:
    """Mean and standard deviation of l, α and β, each ``(3,)``."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]


REFERENCE = Colours(
    mean=np.array([8.74108109, -0.12440419, 0.0444982]),
    spread=np.array([0.6135447, 0.10989545, 0.0286032]),
)
"""Of slide TCGA-A2-A3XS-DX1, as published with Amgad et al., Bioinformatics 35(18), 2019,
doi:10.1093/bioinformatics/btz083."""


def estimate_colours(pixels: NDArray[np.uint8]) -> Colours | None:
    """Return mean and spread of tissue pixels, ``(n, 3)`` uint8, RGB.

    Returns:
        ``None`` where all pixels are alike along an axis.
    """
    lms = np.maximum(pixels, 1) @ LMS_OF_RGB.T
    lab = np.log(lms) @ LAB_OF_LOG_LMS.T
    mean, spread = lab.mean(axis=0), lab.std(axis=0)
    return Colours(mean, spread) if (spread > 1e-6).all() else None


def log_lms_transform(
    source: Colours, target: Colours
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix and offset that turn the cones' logarithms of source into those of target."""
    back = np.linalg.inv(LAB_OF_LOG_LMS)
    ratio = np.diag(target.spread / source.spread)
    matrix = back @ ratio @ LAB_OF_LOG_LMS
    offset = back @ (target.mean - ratio @ source.mean)
    return matrix, offset

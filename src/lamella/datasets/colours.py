"""Changes of colour: amounts of stain, brightness, contrast, saturation and hue."""

import numpy as np
from numpy.typing import NDArray

_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_AMOUNTS = np.linalg.inv(_STAINS)
_LOG_WHITE = np.float32(np.log(256))
_DENSITY = _LOG_WHITE - np.log(np.arange(256, dtype=np.float32) + 1)

# Source: luma of ITU-R BT.601-7 and the axes I and Q of the NTSC signal, SMPTE 170M-2004.
_YIQ = np.array(
    [
        [0.299, 0.587, 0.114],
        [0.59590059, -0.27455667, -0.32134392],
        [0.21153661, -0.52273617, 0.31119955],
    ]
)
_GREY = _YIQ[0]


def restained(
    image: NDArray[np.uint8], factors: NDArray[np.float64], shifts: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return a patch with other amounts of haematoxylin, eosin and DAB.

    Args:
        image: ``(height, width, 3)`` uint8, RGB.
        factors: ``(3,)`` the amounts are multiplied by these.
        shifts: ``(3,)`` and these are added, in natural-logarithm optical density.

    Source:
        Colours of the stains: Ruifrok and Johnston, Anal Quant Cytol Histol 23(4), 2001,
        PMID 11531144 (no DOI). Jitter: Tellez et al., IEEE TMI 37(9), 2018,
        doi:10.1109/TMI.2018.2820199.
    """
    matrix = (_AMOUNTS @ np.diag(factors) @ _STAINS).astype(np.float32)
    shift = (shifts @ _STAINS).astype(np.float32)
    # Channel by channel: adding a shift to the last axis takes three times as long.
    density = _DENSITY.take(np.ascontiguousarray(image.reshape(-1, 3).T))
    moved = np.exp(_LOG_WHITE - (matrix.T @ density + shift[:, None])) - 1
    changed: NDArray[np.uint8] = np.rint(np.clip(moved, 0, 255)).astype(np.uint8)
    return changed.T.reshape(image.shape)


def recoloured(
    planes: NDArray[np.float32],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue_deg: float,
) -> NDArray[np.float32]:
    """Return a patch with another brightness, contrast, saturation and hue, in this order.

    All four are linear, so they are one product with a matrix and one sum; nothing is cut off at
    black or white in between.

    Args:
        planes: ``(3, height, width)`` float32, RGB, 0 to 255.
        brightness: Colours are multiplied by this.
        contrast: Distances from the mean grey of the patch are multiplied by this.
        saturation: Distances of colours from their grey are multiplied by this.
        hue_deg: Colours are turned by this, in the plane of I and Q.
    """
    mean_grey = brightness * (_GREY @ planes.mean(axis=(1, 2)))
    matrix = brightness * contrast * _hue_and_saturation(hue_deg, saturation)
    # Hue and saturation leave greys as they are, so the shift of the contrast passes through.
    shift = (1 - contrast) * mean_grey
    changed = matrix.astype(np.float32) @ planes.reshape(3, -1)
    changed += np.float32(shift)
    return changed.reshape(planes.shape)


def _hue_and_saturation(hue_deg: float, saturation: float) -> NDArray[np.float64]:
    turn = np.deg2rad(hue_deg)
    cos, sin = saturation * np.cos(turn), saturation * np.sin(turn)
    change = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    matrix: NDArray[np.float64] = np.linalg.inv(_YIQ) @ change @ _YIQ
    return matrix

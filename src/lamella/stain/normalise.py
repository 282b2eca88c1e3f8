"""Fit a normalisation to the tissue of a slide, and apply it to patches.

Both methods are the same arithmetic: logarithms of three linear channels, a matrix and an offset,
and back. With Macenko the channels are the colours themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lamella.errors import SettingsError
from lamella.stain import macenko, reinhard
from lamella.stain.settings import StainMethod

FEWEST_PIXELS = 1000
"""With less tissue than this the percentiles of a fit are of single pixels."""

Target = macenko.Stains | reinhard.Colours | None
_LOG_GREY_LEVELS = -macenko.optical_density(np.arange(256)).astype(np.float32)
_LMS_OF_RGB = reinhard.LMS_OF_RGB.astype(np.float32)
_RGB_OF_LMS = np.linalg.inv(reinhard.LMS_OF_RGB).astype(np.float32)


@dataclass(frozen=True)
class Normaliser:
    """How the colours of one slide are changed.

    Attributes:
        outcome: ``macenko``, ``reinhard``, ``none``, or ``none: `` and why there is no fit.
        matrix: ``(3, 3)`` applied to the logarithms of the channels.
        offset: ``(3,)`` added to them.
    """

    outcome: str
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def nothing(cls, why: str = "") -> Self:
        """Return the normaliser that leaves patches as they are."""
        return cls(f"none: {why}" if why else "none", np.eye(3), np.zeros(3))

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self:
        """Return the normaliser that ``attributes`` described in a shard."""
        return cls(str(attributes["stain"]), attributes["stain_matrix"], attributes["stain_offset"])

    @property
    def attributes(self) -> dict[str, Any]:
        """What a shard's root attributes say of it."""
        return {
            "stain": self.outcome,
            "stain_matrix": self.matrix,
            "stain_offset": self.offset,
        }

    def apply(self, pixels: NDArray[np.uint8]) -> None:
        """Change pixels in place; ``(..., 3)`` uint8, RGB."""
        if self.outcome in {StainMethod.MACENKO, StainMethod.REINHARD}:
            for patch in pixels.reshape(-1, *pixels.shape[-3:]):
                patch[:] = np.rint(np.minimum(self.colours(patch), 255))

    def colours(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return changed pixels before they are rounded; never below 0, maybe above 255."""
        # Channel by channel: adding an offset to the last axis takes three times as long.
        planes = np.ascontiguousarray(pixels.reshape(-1, 3).T)
        if self.outcome == StainMethod.MACENKO:
            changed = np.exp(self._moved(_LOG_GREY_LEVELS.take(planes)))
        else:
            lms = _LMS_OF_RGB @ np.maximum(planes, 1).astype(np.float32)
            changed = np.maximum(_RGB_OF_LMS @ np.exp(self._moved(np.log(lms))), 0)
        return changed.T.reshape(pixels.shape)

    def _moved(self, logs: NDArray[np.float32]) -> NDArray[np.float32]:
        moved: NDArray[np.float32] = self.matrix.astype(np.float32) @ logs
        moved += self.offset.astype(np.float32)[:, None]
        return moved


def fit_normaliser(
    method: StainMethod, pixels: NDArray[np.uint8], target: Target = None
) -> Normaliser:
    """Return what makes the colours of tissue like those of the target.

    Args:
        method: The method.
        pixels: ``(n, 3)`` uint8, RGB, the tissue of one slide.
        target: From ``read_target``; ``None`` for the method's published reference.

    Returns:
        A normaliser that changes nothing, and says why, where there is too little tissue or its
        colours do not vary.
    """
    if method is StainMethod.NONE:
        return Normaliser.nothing()
    usable = macenko.stained(pixels) if method is StainMethod.MACENKO else pixels
    if len(usable) < FEWEST_PIXELS:
        return Normaliser.nothing(f"too few tissue pixels ({len(usable)})")
    source = _estimate(method, pixels)
    if source is None:
        return Normaliser.nothing("the stains of the tissue cannot be told apart")
    if isinstance(source, macenko.Stains):
        stains = target if isinstance(target, macenko.Stains) else macenko.REFERENCE
        matrix = macenko.density_matrix(source, stains)
        return Normaliser(method.value, matrix, np.full(3, np.log(macenko.WHITE)))
    colours = target if isinstance(target, reinhard.Colours) else reinhard.REFERENCE
    return Normaliser(method.value, *reinhard.log_lms_transform(source, colours))


def read_target(method: StainMethod, reference: Path | None) -> Target:
    """Return the stains or colours of a reference image.

    Args:
        method: The method.
        reference: An image of tissue; ``None`` for the method's published reference.

    Returns:
        ``None`` where the published reference is to be used, or none is needed.

    Raises:
        SettingsError: the image cannot be read, is too large, or shows too little tissue.
    """
    if method is StainMethod.NONE or reference is None:
        return None
    try:
        with Image.open(reference) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    except OSError as error:
        raise _bad_reference(f"it cannot be read ({error})", reference) from error
    except Image.DecompressionBombError as error:
        raise _bad_reference(
            "it is too large to be read as a whole; a piece of some 1000 x 1000 pixels will do",
            reference,
        ) from error
    usable = macenko.stained(pixels) if method is StainMethod.MACENKO else pixels
    target = _estimate(method, pixels) if len(usable) >= FEWEST_PIXELS else None
    if target is None:
        raise _bad_reference("it shows too little stained tissue", reference)
    return target


def _estimate(method: StainMethod, pixels: NDArray[np.uint8]) -> Target:
    if method is StainMethod.MACENKO:
        return macenko.estimate_stains(pixels)
    return reinhard.estimate_colours(pixels)


def _bad_reference(why: str, path: Path) -> SettingsError:
    return SettingsError(
        f"the stain reference is of no use: {why}",
        str(path),
        "Set `patches.stain_reference` to an image of tissue, or leave it out",
    )

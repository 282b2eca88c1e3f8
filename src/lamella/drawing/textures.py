"""Endless textures: periodic pictures made once per resolution, shared by all slides.

A texture repeats itself without a seam, so the pixel at a place does not depend on the block
that asks for it. Amounts of stain are 0 … 255 (see ``scanners.colour_table``).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lamella.drawing.scanners import NOISE_LEVELS

LATTICE_UM = 8.0
"""Distance of the nodes between which slow fields are interpolated; whole pixels everywhere."""

_SEED = 20240229
_FIBRE_PERIODS_UM = (256.0, 200.0)
_FIBRE_ANGLES = (0.35, 1.45)
_NOISE_PERIOD_PX = 1024
_SLOW_PERIOD_NODES = 256
_CLEFT = 1.9

Texture = NDArray[np.uint8]
Field = NDArray[np.float32]


@dataclass(frozen=True)
class TissueTextures:
    """Textures of tissue at one resolution, periodic, ``[y, x]``.

    Attributes:
        fibres: Two eosin textures of stroma of different direction and period.
        cytoplasm: Eosin between the nuclei of a tumour.
        basophil: Haematoxylin between the nuclei of a tumour.
    """

    fibres: tuple[Texture, Texture]
    cytoplasm: Texture
    basophil: Texture


@dataclass(frozen=True)
class SlowFields:
    """Fields that vary slowly, one value per lattice node, periodic, ``[y, x]``.

    Attributes:
        thickness: Relative amount of stain, around 1.
        mixture: Share of the first of two fibre directions, in ``[0, 1]``.
        wobble: How far the tissue's border strays from its outline, microns, at most 10.
    """

    thickness: Field
    mixture: Field
    wobble: Field


@lru_cache(maxsize=4)
def tissue_textures(mpp: float) -> TissueTextures:
    """Return the textures of tissue at a resolution."""
    rng = np.random.default_rng((_SEED, 1))
    first, second = (
        _fibres(rng, round(period / mpp), angle, mpp)
        for period, angle in zip(_FIBRE_PERIODS_UM, _FIBRE_ANGLES, strict=True)
    )
    size_px = round(_FIBRE_PERIODS_UM[1] / mpp)
    grains = periodic_noise(rng, size_px, (1.6 / mpp, 1.6 / mpp))
    borders = np.abs(periodic_noise(rng, size_px, (4.0 / mpp, 4.0 / mpp)))
    return TissueTextures(
        fibres=(first, second),
        cytoplasm=_amounts(92.0 + 13.0 * grains - 16.0 * (borders < 0.12)),
        basophil=_amounts(42.0 + 8.0 * grains),
    )


@lru_cache(maxsize=1)
def slow_fields() -> SlowFields:
    """Return the slow fields, the same for every resolution."""
    rng = np.random.default_rng((_SEED, 2))

    def noise(sigma_um: float) -> Field:
        sigma = sigma_um / LATTICE_UM
        return periodic_noise(rng, _SLOW_PERIOD_NODES, (sigma, sigma))

    return SlowFields(
        thickness=1.0 + np.clip(0.10 * noise(60.0), -0.25, 0.25),
        mixture=np.clip(0.5 + 0.8 * noise(45.0), 0.0, 1.0),
        wobble=np.clip(4.0 * noise(14.0), -10.0, 10.0),
    )


@lru_cache(maxsize=1)
def sensor_noise() -> NDArray[np.uint32]:
    """Return periodic noise of the sensor, packed as in ``scanners.colour_table``."""
    rng = np.random.default_rng((_SEED, 3))
    shape = (3, _NOISE_PERIOD_PX, _NOISE_PERIOD_PX)
    red, green, blue = rng.integers(NOISE_LEVELS, size=shape, dtype=np.uint32)
    return np.asarray(red | green << 8 | blue << 16)


def periodic_noise(
    rng: np.random.Generator, size_px: int, sigma_px: tuple[float, float], *, angle: float = 0.0
) -> Field:
    """Return smooth noise that repeats without a seam, mean 0 and standard deviation 1.

    Args:
        rng: Source of the noise.
        size_px: Period along both axes.
        sigma_px: Correlation lengths along and across the direction.
        angle: Direction in radians, from the x axis towards the y axis.

    Returns:
        ``(size_px, size_px)``.
    """
    white = rng.standard_normal((size_px, size_px), dtype=np.float32)
    fy, fx = np.meshgrid(fft.fftfreq(size_px), fft.rfftfreq(size_px), indexing="ij")
    along = (fx * np.cos(angle) + fy * np.sin(angle)) * sigma_px[0]
    across = (fy * np.cos(angle) - fx * np.sin(angle)) * sigma_px[1]
    kernel = np.exp(-2 * np.pi**2 * (along**2 + across**2)).astype(np.float32)
    kernel[0, 0] = 0.0
    noise = fft.irfft2(fft.rfft2(white) * kernel, s=white.shape)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def crop(texture: NDArray[Any], y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[Any]:
    """Return rows ``y`` and columns ``x`` of an endless texture."""
    # ``take`` with mode="wrap" subtracts the period again and again: slow far from the origin.
    rows = texture[y % texture.shape[0]]
    return np.asarray(rows.take(x % texture.shape[1], axis=1))


def _fibres(rng: np.random.Generator, size_px: int, angle: float, mpp: float) -> Texture:
    coarse = periodic_noise(rng, size_px, (22.0 / mpp, 2.4 / mpp), angle=angle)
    fine = periodic_noise(rng, size_px, (9.0 / mpp, 0.7 / mpp), angle=angle)
    bend = periodic_noise(rng, size_px, (18.0 / mpp, 18.0 / mpp)) * (5.0 / mpp)
    rows = (np.arange(size_px)[:, None] + np.rint(bend).astype(np.int64)) % size_px
    columns = np.arange(size_px)[None, :]
    amount = 96.0 + 20.0 * coarse[rows, columns] + 11.0 * fine[rows, columns]
    # Where fibres part, the glass shows: narrow slits along their direction.
    clefts = np.clip((coarse[rows, columns] * -1.0 - _CLEFT) * 4.0, 0.0, 1.0)
    return _amounts(amount * (1.0 - clefts))


def _amounts(values: NDArray[np.floating[Any]]) -> Texture:
    return np.asarray(np.rint(np.clip(values, 0.0, 255.0)), dtype=np.uint8)

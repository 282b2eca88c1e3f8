"""Nuclei and glands as small pictures of stain, made once per resolution."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lamella.drawing.textures import periodic_noise

_SEED = 19580612
_SOFT_EDGE_UM = 0.5

GLAND_RADIUS_UM = (28.0, 42.0)
"""Smallest and largest mean radius of a gland; its outline strays by up to a twelfth."""

Amounts = NDArray[np.uint8]


@dataclass(frozen=True)
class NucleusShape:
    """One of the nuclei that are stamped again and again.

    Attributes:
        semi_axes_um: Long and short semi-axis in microns.
        angle: Direction of the long axis, radians from x towards y.
        stain: Haematoxylin, 0 … 255.
        nucleoli: Number of dark spots.
        seed: Seed of the chromatin.
    """

    semi_axes_um: tuple[float, float]
    angle: float
    stain: float
    nucleoli: int
    seed: int


@dataclass(frozen=True)
class GlandShape:
    """One of the glands.

    Attributes:
        radius_um: Mean outer radius.
        phases: Phases of the outline's waves, radians.
        nuclei_um: ``(n, 2)`` centres of the epithelium's nuclei, relative to the gland's centre.
    """

    radius_um: float
    phases: tuple[float, float]
    nuclei_um: NDArray[np.float64]


@dataclass(frozen=True)
class GlandStamp:
    """A gland at one resolution, centre in the middle, ``[y, x]``, stain 0 … 255."""

    inside: NDArray[np.bool_]
    eosin: Amounts
    haematoxylin: Amounts


def _nucleus_shapes() -> tuple[tuple[NucleusShape, ...], tuple[range, range, range]]:
    rng = np.random.default_rng((_SEED, 1))
    #            n   long semi-axis   roundness    stain           nucleoli
    kinds = (
        (48, (2.6, 4.6), (0.34, 0.95), (120.0, 165.0), 0),
        (32, (2.6, 3.4), (0.70, 0.95), (120.0, 160.0), 0),
        (64, (4.2, 6.4), (0.62, 0.95), (160.0, 225.0), 2),
    )
    shapes: list[NucleusShape] = []
    ranges: list[range] = []
    for count, long_um, roundness, stain, nucleoli in kinds:
        ranges.append(range(len(shapes), len(shapes) + count))
        for _ in range(count):
            long_axis_um = float(rng.uniform(*long_um))
            shapes.append(
                NucleusShape(
                    semi_axes_um=(long_axis_um, long_axis_um * float(rng.uniform(*roundness))),
                    angle=float(rng.uniform(0.0, np.pi)),
                    stain=float(rng.uniform(*stain)),
                    nucleoli=int(rng.integers(nucleoli + 1)),
                    seed=int(rng.integers(2**31)),
                )
            )
    return tuple(shapes), (ranges[0], ranges[1], ranges[2])


def _gland_shapes() -> tuple[GlandShape, ...]:
    rng = np.random.default_rng((_SEED, 2))
    shapes = []
    for _ in range(12):
        radius_um = float(rng.uniform(*GLAND_RADIUS_UM))
        phases = (float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi)))
        count = round(2 * np.pi * 0.8 * radius_um / 6.6)
        angles = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * (2 * np.pi / count)
        ring_um = _gland_outline(radius_um, phases, angles) * rng.uniform(0.74, 0.86, count)
        centres = np.stack([ring_um * np.cos(angles), ring_um * np.sin(angles)], axis=1)
        shapes.append(GlandShape(radius_um, phases, centres))
    return tuple(shapes)


def _gland_outline(
    radius_um: float, phases: tuple[float, float], angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    waves = np.cos(2 * angles + phases[0]) + 0.5 * np.cos(3 * angles + phases[1])
    return np.asarray(radius_um * (1.0 + waves / 18.0))


NUCLEI, (STROMA, EPITHELIUM, TUMOR) = _nucleus_shapes()
"""All shapes of nuclei; ``STROMA``, ``EPITHELIUM`` and ``TUMOR`` are the indices of each kind."""

GLANDS = _gland_shapes()
"""All shapes of glands."""


@lru_cache(maxsize=4)
def nucleus_stamps(mpp: float) -> tuple[Amounts, ...]:
    """Return the haematoxylin of every shape of ``NUCLEI``, centre in the middle, odd sizes."""
    return tuple(_nucleus_stamp(shape, mpp) for shape in NUCLEI)


@lru_cache(maxsize=4)
def gland_stamps(mpp: float) -> tuple[GlandStamp, ...]:
    """Return the picture of every shape of ``GLANDS``, without its nuclei."""
    return tuple(_gland_stamp(shape, mpp) for shape in GLANDS)


def _offsets_um(radius_um: float, mpp: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reach = int(np.ceil(radius_um / mpp)) + 1
    steps = np.arange(-reach, reach + 1) * mpp
    y, x = np.meshgrid(steps, steps, indexing="ij")
    return y, x


def _nucleus_stamp(shape: NucleusShape, mpp: float) -> Amounts:
    rng = np.random.default_rng(shape.seed)
    long_um, short_um = shape.semi_axes_um
    y, x = _offsets_um(long_um + _SOFT_EDGE_UM, mpp)
    along = (x * np.cos(shape.angle) + y * np.sin(shape.angle)) / long_um
    across = (y * np.cos(shape.angle) - x * np.sin(shape.angle)) / short_um
    radius = np.hypot(along, across)
    dents = 1.0 + 0.06 * np.cos(3 * np.arctan2(across, along) + rng.uniform(0, 2 * np.pi))
    cover = np.clip((dents - radius) * short_um / _SOFT_EDGE_UM + 0.5, 0.0, 1.0)
    chromatin = periodic_noise(rng, len(x), (0.7 / mpp, 0.7 / mpp))
    # The membrane is darker than what it holds.
    stain = shape.stain * (0.92 + 0.09 * chromatin + 0.14 * np.clip(radius, 0.0, 1.0) ** 4)
    for centre in rng.uniform(-0.45, 0.45, (shape.nucleoli, 2)):
        stain += 55.0 * (np.hypot(along - centre[0], across - centre[1]) < 0.8 / short_um)
    return np.asarray(np.rint(np.clip(stain, 0.0, 255.0) * cover), dtype=np.uint8)


def _gland_stamp(shape: GlandShape, mpp: float) -> GlandStamp:
    rng = np.random.default_rng((_SEED, 3))
    y, x = _offsets_um(shape.radius_um * 13 / 12, mpp)
    outline = _gland_outline(shape.radius_um, shape.phases, np.arctan2(y, x))
    depth = np.hypot(x, y) / outline
    grains = periodic_noise(rng, len(x), (1.2 / mpp, 1.2 / mpp))
    lumen = np.clip((0.42 + 0.02 * grains - depth) * 14.0, 0.0, 1.0)
    membrane = depth > 0.95
    eosin = (72.0 + 9.0 * grains + 50.0 * membrane) * (1.0 - lumen)
    haematoxylin = (30.0 + 5.0 * grains) * (1.0 - lumen) * ~membrane
    return GlandStamp(
        inside=depth < 1.0,
        eosin=np.rint(np.clip(eosin, 0.0, 255.0)).astype(np.uint8),
        haematoxylin=np.rint(np.clip(haematoxylin, 0.0, 255.0)).astype(np.uint8),
    )

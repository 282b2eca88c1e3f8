"""Changes to a patch that leave its label as it is.

What is drawn depends on seed, epoch and sample alone: not on the rank, thread or batch that the
sample happens to be in. Changes are made in the order in which they come about on the way from
the glass to the file: place and stain of the tissue, focus, colours and noise of the camera,
compression. All that moves pixels between pixels is one resampling.
"""

from collections.abc import Callable
from enum import IntEnum, unique
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.colours import recoloured, restained
from lamella.datasets.geometry import (
    control_points,
    elastic_shifts,
    resampled,
    source_places,
    turn_and_scale,
    viewed,
)
from lamella.datasets.imaging import blurred, noisy, recompressed, with_holes
from lamella.datasets.settings import AugmentSettings


@unique
class Stream(IntEnum):
    """The random numbers of a kind of change: no setting changes what is drawn for another.

    ``VIEW`` draws mirroring and turning, then the stains. 1 is the order of the samples.
    """

    VIEW = 2
    ROTATION = 3
    SCALE = 4
    ELASTIC = 5
    BLUR = 6
    BRIGHTNESS = 7
    CONTRAST = 8
    SATURATION = 9
    HUE = 10
    NOISE = 11
    JPEG = 12
    DROPOUT = 13


Draws = Callable[[Stream], np.random.Generator]
"""Gives the generator of a stream, at its beginning."""


def augmented(
    images: NDArray[np.uint8],
    samples: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    settings: AugmentSettings,
) -> NDArray[np.uint8]:
    """Return patches, each changed as drawn for it.

    Args:
        images: ``(n, size, size, 3)`` uint8, RGB; left as they are.
        samples: ``(n,)`` numbers that tell the samples of a training apart.
        seed: Seed of the training.
        epoch: Number of the epoch.
        settings: What may be changed.
    """
    changed = np.empty_like(images)
    for place, (image, sample) in enumerate(zip(images, samples.tolist(), strict=True)):
        changed[place] = _changed(image, partial(_generator, seed, epoch, sample), settings)
    return changed


def _generator(seed: int, epoch: int, sample: int, stream: Stream) -> np.random.Generator:
    entropy = [seed, epoch, sample, int(stream)]
    if stream is Stream.NOISE:
        # Many numbers: SFC64 takes half the time of the default, which is kept for the rest.
        return np.random.Generator(np.random.SFC64(entropy))
    return np.random.default_rng(entropy)


def _changed(
    image: NDArray[np.uint8], draws: Draws, settings: AugmentSettings
) -> NDArray[np.uint8]:
    image = _other_view(image, draws, settings)
    if settings.resamples or settings.blur_px or settings.recolours or settings.noise_levels:
        image = _pixels(_photographed(_planes(image), draws, settings))
    if settings.jpeg_quality_min is not None:
        quality = draws(Stream.JPEG).integers(settings.jpeg_quality_min, 101)
        image = recompressed(image, int(quality))
    if settings.dropout_holes:
        image = _dropped_out(image, draws(Stream.DROPOUT), settings)
    return image


def _other_view(
    image: NDArray[np.uint8], draws: Draws, settings: AugmentSettings
) -> NDArray[np.uint8]:
    generator = draws(Stream.VIEW)
    # Always drawn, in this order: no setting changes what is drawn for another.
    mirror, turns = bool(generator.integers(2)), int(generator.integers(4))
    image = viewed(image, mirror=mirror and settings.flip, turns=turns if settings.turn else 0)
    if settings.hed_jitter:
        factors, shifts = generator.uniform(-settings.hed_jitter, settings.hed_jitter, (2, 3))
        image = restained(image, 1 + factors, shifts)
    return image


def _photographed(
    planes: NDArray[np.float32], draws: Draws, settings: AugmentSettings
) -> NDArray[np.float32]:
    if settings.resamples:
        planes = resampled(planes, _places(planes.shape[-1], draws, settings))
    if settings.blur_px:
        planes = blurred(planes, draws(Stream.BLUR).uniform(0, settings.blur_px))
    if settings.recolours:
        planes = recoloured(
            planes,
            brightness=1 + _even(draws, Stream.BRIGHTNESS, settings.brightness_jitter),
            contrast=1 + _even(draws, Stream.CONTRAST, settings.contrast_jitter),
            saturation=1 + _even(draws, Stream.SATURATION, settings.saturation_jitter),
            hue_deg=_even(draws, Stream.HUE, settings.hue_deg),
        )
    if settings.noise_levels:
        generator = draws(Stream.NOISE)
        planes = noisy(planes, generator.uniform(0, settings.noise_levels), generator)
    return planes


def _places(size: int, draws: Draws, settings: AugmentSettings) -> NDArray[np.float32]:
    matrix = turn_and_scale(
        _even(draws, Stream.ROTATION, settings.rotation_deg),
        (1 + settings.scale_jitter) ** _even(draws, Stream.SCALE, 1),
    )
    places = source_places(size, matrix)
    if settings.elastic_px:
        points = control_points(size, settings.elastic_spacing_px)
        control = draws(Stream.ELASTIC).uniform(
            -settings.elastic_px, settings.elastic_px, (2, points, points)
        )
        # Tissue is deformed first and turned then, so that no turn can make it fold over.
        shifts = np.tensordot(matrix, control, axes=1)
        places += elastic_shifts(size, settings.elastic_spacing_px, shifts)
    return places


def _dropped_out(
    image: NDArray[np.uint8], generator: np.random.Generator, settings: AugmentSettings
) -> NDArray[np.uint8]:
    edge_px = max(1, round(settings.dropout_share * len(image)))
    holes = generator.integers(settings.dropout_holes + 1)
    corners = generator.integers(len(image) - edge_px + 1, size=(holes, 2))
    return with_holes(image, corners, edge_px)


def _even(draws: Draws, stream: Stream, most: float) -> float:
    """Return a number drawn evenly between ``-most`` and ``most``."""
    return float(draws(stream).uniform(-most, most))


def _planes(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return ``(3, height, width)`` float32."""
    # Channel by channel here and below: half the time of one transposed copy.
    return np.stack([image[..., channel] for channel in range(3)]).astype(np.float32)


def _pixels(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return ``(height, width, 3)`` uint8, cut off at black and white."""
    rounded = np.rint(np.clip(planes, 0, 255)).astype(np.uint8)
    image = np.empty((*planes.shape[1:], 3), dtype=np.uint8)
    for channel, plane in enumerate(rounded):
        image[..., channel] = plane
    return image

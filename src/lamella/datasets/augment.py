"""Changes to a patch that leave its label as it is.

What is drawn depends on seed, epoch and sample alone: not on the rank, thread or batch that the
sample happens to be in.
"""

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.settings import AugmentSettings

_AUGMENT_STREAM = 2

_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_AMOUNTS = np.linalg.inv(_STAINS)
_LOG_WHITE = np.float32(np.log(256))
_DENSITY = _LOG_WHITE - np.log(np.arange(256, dtype=np.float32) + 1)


def augmented(
    images: NDArray[np.uint8],
    samples: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    settings: AugmentSettings,
) -> NDArray[np.uint8]:
    """Return patches, each mirrored, turned and stained as drawn for it.

    Args:
        images: ``(n, size, size, 3)`` uint8, RGB; left as they are.
        samples: ``(n,)`` numbers that tell the samples of a training apart.
        seed: Seed of the training.
        epoch: Number of the epoch.
        settings: What may be changed.
    """
    changed = np.empty_like(images)
    for place, (image, sample) in enumerate(zip(images, samples.tolist(), strict=True)):
        generator = np.random.default_rng([seed, epoch, sample, _AUGMENT_STREAM])
        # Always drawn, in this order: no setting changes what is drawn for another.
        mirror, turns = bool(generator.integers(2)), int(generator.integers(4))
        changed[place] = _moved(
            image, mirror=mirror and settings.flip, turns=turns if settings.turn else 0
        )
        if settings.hed_jitter:
            factors, shifts = generator.uniform(-settings.hed_jitter, settings.hed_jitter, (2, 3))
            changed[place] = restained(changed[place], 1 + factors, shifts)
    return changed


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


def _moved(image: NDArray[np.uint8], *, mirror: bool, turns: int) -> NDArray[np.uint8]:
    return np.rot90(image[:, ::-1] if mirror else image, turns)

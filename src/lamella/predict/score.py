"""From the probabilities of a slide's patches to one score."""

import math

import numpy as np
from numpy.typing import NDArray

from lamella.patches.settings import LabelSource, PatchSettings, Sampling

SAMPLED_BY_ANNOTATION = (
    "no score: patches were drawn by annotated class, so it would repeat the annotation;"
    " choose `patches.sampling: grid`"
)
"""Remark on a slide whose patches tell how much of it was annotated as tumour."""


def score_remark(patches: PatchSettings) -> str:
    """Return why the patches of a slide make no score; empty where they do.

    With `random` and `balanced`, so many patches of each class are drawn. Where an annotation
    decides the class, their mixture is that of the annotation, and any figure over them would tell
    it.

    Args:
        patches: How the patches were chosen.
    """
    drawn = patches.sampling in {Sampling.RANDOM, Sampling.BALANCED}
    by_annotation = patches.label_source is LabelSource.ANNOTATION
    return SAMPLED_BY_ANNOTATION if drawn and by_annotation else ""


def slide_score(probabilities: NDArray[np.float32], *, top_share: float) -> float | None:
    """Return the mean of the highest probabilities.

    It lies between the maximum, which one wrong patch decides, and the mean, in which a small
    tumour drowns.

    Args:
        probabilities: ``(n,)`` of the target class.
        top_share: Share of the patches that count, in ``(0, 1]``; rounded up, at least one patch.

    Returns:
        The score in ``[0, 1]``; ``None`` for a slide without patches.

    Source:
        Pooling over the top instances: Courtiol et al. 2018, arXiv:1802.02212.
    """
    if len(probabilities) == 0:
        return None
    count = math.ceil(top_share * len(probabilities))
    highest = np.sort(probabilities.astype(np.float64))[-count:]
    return float(highest.mean())

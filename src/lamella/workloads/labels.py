"""From probabilities to labels."""

import numpy as np
from numpy.typing import NDArray

NOT_ASKED = 255
"""Stands in labels where a run has no frame or patch, or an answer is not finite; no class."""


def most_probable(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the most probable class of every pixel, the first one among equals.

    As ``argmax`` over the last axis, which takes several times as long for a few classes: on a
    GPU, longer than the network.

    Args:
        probabilities: ``(…, classes)``, of at most 255 classes.

    Returns:
        ``(…)``, the leading axes; `NOT_ASKED` where a probability is NaN or infinite.
    """
    best = probabilities[..., 0].copy()
    labels = np.zeros(best.shape, dtype=np.uint8)
    for number in range(1, probabilities.shape[-1]):
        other = probabilities[..., number]
        # The last class that beats all before it is the highest number: without a mask, which
        # would take most of the time.
        np.maximum(labels, (other > best) * np.uint8(number), out=labels)
        np.maximum(best, other, out=best)
    finite = np.isfinite(probabilities)
    if not finite.all():
        labels[~finite.all(axis=-1)] = NOT_ASKED
    return labels

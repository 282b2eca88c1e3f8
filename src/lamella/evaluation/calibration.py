"""Whether a probability of 0.8 is right eight times in ten."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of equal width. Source: Guo et al. 2017, arXiv:1706.04599."""

_INNER_EDGES = np.arange(1, BINS) / BINS


@dataclass(frozen=True)
class ReliabilityBin:
    """The samples whose confidence lies in one bin.

    Attributes:
        n: How many; at least one.
        confidence: Their mean confidence.
        accuracy: Share of them that are right.
    """

    n: int
    confidence: float
    accuracy: float


def confidences(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probability of the predicted class of each sample, ``(n,)``."""
    highest: NDArray[np.float64] = probabilities.max(axis=1).astype(np.float64)
    return highest


def bin_numbers(confidence: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the bin of each confidence, ``(n,)`` in 0 … 14; an upper edge belongs to its bin."""
    numbers: NDArray[np.int64] = np.digitize(confidence, _INNER_EDGES, right=True)
    return numbers


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over ``BINS`` bins of equal width.

    It is the mean over the samples of the gap between the confidence of a bin and the share of its
    samples that are right.

    Args:
        confidence: ``(n,)`` in ``[0, 1]``, at least one.
        right: ``(n,)``.

    Source:
        Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    gaps = np.bincount(bin_numbers(confidence), right - confidence.astype(np.float64))
    return float(np.abs(gaps).sum() / len(confidence))


def reliability_bins(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> list[ReliabilityBin]:
    """Return the bins that hold samples, the lowest first."""
    numbers = bin_numbers(confidence)
    return [
        ReliabilityBin(
            int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean())
        )
        for inside in (numbers == number for number in np.unique(numbers))
    ]

"""Answers of a network to patches, slides or patients, and whose they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """Answers to samples of one level.

    Attributes:
        labels: ``(n,)`` true classes.
        probabilities: ``(n, classes)``.
        patients: ``(n,)`` number of the patient that each sample comes from, 0 … ``patients - 1``.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating]
    patients: NDArray[np.int64]

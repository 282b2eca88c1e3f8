"""Answers of a network to patches, slides or patients, and whose they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.targets import Targets


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


@dataclass(frozen=True)
class ColumnAnswers:
    """Answers to samples of one level about columns of the slide table.

    Attributes:
        targets: What is true of the samples: labels or numbers, some of them unknown.
        outputs: ``(n, k)``, the probability of each label, or numbers in the units of the table.
        patients: ``(n,)`` as in ``Answers``.
    """

    targets: Targets
    outputs: NDArray[np.floating]
    patients: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.patients)

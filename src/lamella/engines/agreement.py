"""How far two sets of answers to the same patches agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.evaluation.metrics import classification_metrics


@dataclass(frozen=True)
class Agreement:
    """Answers of an engine against those of the trained network.

    Attributes:
        n: Patches compared.
        max_abs_difference: Largest difference of a probability; NaN where an answer is NaN.
        cosine: Lowest cosine between the two answers to one patch.
        top1_agreement: Share of the patches with the same most probable class.
        auc: AUC of the engine's answers; ``None`` where a class is missing.
        auc_difference: That minus the trained network's.
    """

    n: int
    max_abs_difference: float
    cosine: float
    top1_agreement: float
    auc: float | None
    auc_difference: float | None

    def within(self, limit: float) -> bool:
        """Return whether no probability differs by more than ``limit``; NaN is not within."""
        return self.max_abs_difference <= limit


def compare_answers(
    answers: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.int16]
) -> Agreement:
    """Compare probabilities.

    Args:
        answers: ``(n, classes)``, of an engine.
        reference: ``(n, classes)``, of the trained network.
        labels: ``(n,)`` index of the true class; -1 where it is unknown.

    Raises:
        ValueError: the shapes differ or there is no patch.
    """
    if answers.shape != reference.shape or len(answers) == 0:
        raise ValueError(f"cannot compare {answers.shape} with {reference.shape}")
    auc, expected = patch_auc(answers, labels), patch_auc(reference, labels)
    return Agreement(
        n=len(answers),
        max_abs_difference=largest_difference(answers, reference),
        cosine=_lowest_cosine(answers, reference),
        top1_agreement=float(np.mean(answers.argmax(axis=1) == reference.argmax(axis=1))),
        auc=auc,
        auc_difference=None if auc is None or expected is None else auc - expected,
    )


def largest_difference(answers: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the largest absolute difference; NaN where either holds a NaN."""
    return float(np.max(np.abs(answers.astype(np.float64) - reference.astype(np.float64))))


def patch_auc(probabilities: NDArray[np.float32], labels: NDArray[np.int16]) -> float | None:
    """Return the area under the ROC curve of the labelled patches.

    Args:
        probabilities: ``(n, classes)``.
        labels: ``(n,)``; -1 where unknown.

    Returns:
        For two classes the AUC of the second; for more the mean of every class against the rest.
        ``None`` where a class has no patch, or an answer is not finite.
    """
    known = labels >= 0
    scores = probabilities[known]
    if len(scores) == 0 or not np.isfinite(scores).all():
        return None
    return classification_metrics(labels[known].astype(np.int64), scores)["auc"]


def _lowest_cosine(answers: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    left, right = answers.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.min(np.sum(left * right, axis=1) / lengths))

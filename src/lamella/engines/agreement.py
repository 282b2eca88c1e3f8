"""How far two sets of answers to the same patches agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.engines.difference import largest_difference
from lamella.evaluation.judge import judge
from lamella.evaluation.metrics import classification_metrics


@dataclass(frozen=True)
class Agreement:
    """Answers of an engine against those of the trained network.

    Attributes:
        n: Patches compared.
        max_abs_difference: Largest difference of a probability, or of a number in standard
            deviations of the training patches; NaN where an answer is NaN.
        cosine: Lowest cosine between the two answers to one patch; ``None`` of labels and numbers.
        top1_agreement: Share of the patches with the same most probable class, or of which the same
            labels are more probable than not; ``None`` of numbers.
        auc: AUC of the engine's answers; ``None`` where a class is missing, and of numbers.
        auc_difference: That minus the trained network's.
    """

    n: int
    max_abs_difference: float
    cosine: float | None
    top1_agreement: float | None
    auc: float | None
    auc_difference: float | None

    def within(self, limit: float) -> bool:
        """Return whether no answer differs by more than ``limit``; NaN is not within."""
        return self.max_abs_difference <= limit


def compare(
    answers: NDArray[np.float32], reference: NDArray[np.float32], targets: Targets
) -> Agreement:
    """Compare answers, whatever was learned.

    Args:
        answers: ``(n, outputs)``, of an engine.
        reference: ``(n, outputs)``, of the trained network.
        targets: What is true of the patches; of some nothing may be known.

    Raises:
        ValueError: the shapes differ or there is no patch.
    """
    match targets.kind:
        case TargetKind.CLASSES:
            return compare_answers(answers, reference, targets.truth.astype(np.int16))
        case TargetKind.MULTI_LABEL:
            return _compare_labels(answers, reference, targets)
        case TargetKind.REGRESSION:
            return _compare_values(answers, reference, targets)


def answers_auc(answers: NDArray[np.float32], targets: Targets) -> float | None:
    """Return the AUC of classes, the mean one of labels; ``None`` where it is undefined."""
    if targets.kind is TargetKind.CLASSES:
        return patch_auc(answers, targets.truth.astype(np.int16))
    known = np.flatnonzero(targets.known)
    if len(known) == 0 or not np.isfinite(answers[known]).all():
        return None
    return judge(targets.take(known), answers[known]).get("auc")


def _compare_labels(
    answers: NDArray[np.float32], reference: NDArray[np.float32], targets: Targets
) -> Agreement:
    _check_shapes(answers, reference)
    auc, expected = answers_auc(answers, targets), answers_auc(reference, targets)
    return Agreement(
        n=len(answers),
        max_abs_difference=largest_difference(answers, reference),
        cosine=None,
        top1_agreement=float(np.mean(((answers > 0.5) == (reference > 0.5)).all(axis=1))),
        auc=auc,
        auc_difference=None if auc is None or expected is None else auc - expected,
    )


def _compare_values(
    answers: NDArray[np.float32], reference: NDArray[np.float32], targets: Targets
) -> Agreement:
    _check_shapes(answers, reference)
    assert targets.scale is not None
    return Agreement(
        n=len(answers),
        max_abs_difference=largest_difference(answers, reference, units=targets.scale.deviations),
        cosine=None,
        top1_agreement=None,
        auc=None,
        auc_difference=None,
    )


def _check_shapes(answers: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
    if answers.shape != reference.shape or len(answers) == 0:
        raise ValueError(f"cannot compare {answers.shape} with {reference.shape}")


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
    _check_shapes(answers, reference)
    auc, expected = patch_auc(answers, labels), patch_auc(reference, labels)
    return Agreement(
        n=len(answers),
        max_abs_difference=largest_difference(answers, reference),
        cosine=_lowest_cosine(answers, reference),
        top1_agreement=float(np.mean(answers.argmax(axis=1) == reference.argmax(axis=1))),
        auc=auc,
        auc_difference=None if auc is None or expected is None else auc - expected,
    )


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

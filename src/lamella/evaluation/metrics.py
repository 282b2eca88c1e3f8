"""How well probabilities agree with labels."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from lamella.evaluation.calibration import calibration_error, confidences
from lamella.evaluation.losses import class_losses

Metrics = dict[str, float | int | None]


def classification_metrics(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> Metrics:
    """Return the metrics of a set of samples: patches, slides or patients.

    Args:
        labels: ``(n,)`` classes, at least one sample.
        probabilities: ``(n, classes)``.

    Returns:
        ``n, loss, accuracy, balanced_accuracy, precision, recall, f1, auc, average_precision,
        ece``. ``precision``, ``recall`` (which is ``balanced_accuracy``) and ``f1`` are means over
        the classes that are among the labels; a class that is never predicted has precision 0.
        With two classes, ``auc`` and ``average_precision`` are those of class 1, else the mean
        over the classes, each against the rest. They are ``None`` where they are undefined: not
        all classes are among the labels. ``ece`` is that of the predicted class.
    """
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0
    )
    auc, average_precision = _ranking(labels, probabilities)
    return {
        "n": len(labels),
        "loss": float(class_losses(labels, probabilities).mean()),
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced_accuracy": float(recall),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auc": auc,
        "average_precision": average_precision,
        "ece": calibration_error(confidences(probabilities), labels == predicted),
    }


def class_metrics(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], label: int
) -> Metrics:
    """Return the metrics of one class against the rest.

    Args:
        labels: ``(n,)`` classes, at least one sample.
        probabilities: ``(n, classes)``.
        label: The class.

    Returns:
        ``n`` (samples of the class), ``precision, recall, f1, auc, average_precision, ece``; all
        but ``n`` are ``None`` where the class is not among the labels, ``auc`` also where no other
        is. ``ece`` is that of the class's own probability.
    """
    true, score = labels == label, probabilities[:, label]
    n = int(true.sum())
    if n == 0:
        names = ("precision", "recall", "f1", "auc", "average_precision", "ece")
        return {"n": 0, **dict.fromkeys(names)}
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, probabilities.argmax(axis=1) == label, average="binary", zero_division=0.0
    )
    return {
        "n": n,
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auc": float(roc_auc_score(true, score)) if n < len(true) else None,
        "average_precision": float(average_precision_score(true, score)),
        "ece": calibration_error(score, true),
    }


def ranked_classes(labels: NDArray[np.int64], classes: int) -> tuple[int, ...]:
    """Return the classes whose AUCs are averaged; none where a class is not among the labels."""
    if len(np.unique(labels)) < classes or classes < 2:
        return ()
    return (1,) if classes == 2 else tuple(range(classes))


def _ranking(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> tuple[float | None, float | None]:
    ranked = ranked_classes(labels, probabilities.shape[1])
    if not ranked:
        return None, None
    each = [(labels == label, probabilities[:, label]) for label in ranked]
    return (
        float(np.mean([roc_auc_score(true, score) for true, score in each])),
        float(np.mean([average_precision_score(true, score) for true, score in each])),
    )


def quality(metrics: Metrics) -> tuple[float, float]:
    """Return what epochs are compared by: AUC, then the lower loss; the loss alone without AUC.

    Regression has no AUC, and classes or labels have none where one of them is missing.
    """
    auc, loss = metrics.get("auc"), metrics["loss"]
    assert loss is not None
    return (0.0 if auc is None else auc, -loss)

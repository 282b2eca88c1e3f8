"""How well probabilities agree with labels."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    recall_score,
    roc_auc_score,
)

_LEAST_PROBABILITY = 1e-7
"""Near the resolution of float32 below 1; bounds the loss of one patch at 16."""

Metrics = dict[str, float | int | None]


def patch_metrics(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Metrics:
    """Return the metrics of a set of patches.

    Args:
        labels: ``(n,)`` classes, at least one patch.
        probabilities: ``(n, classes)``.

    Returns:
        ``n, loss, accuracy, balanced_accuracy, auc, average_precision``. With two classes the
        last two are those of class 1, else the mean over the classes, each against the rest.
        They are ``None`` where they are undefined: not all classes are among the labels.
    """
    predicted = probabilities.argmax(axis=1)
    auc, precision = _ranking(labels, probabilities)
    return {
        "n": len(labels),
        "loss": cross_entropy(labels, probabilities),
        "accuracy": float(accuracy_score(labels, predicted)),
        "balanced_accuracy": _balanced_accuracy(labels, predicted),
        "auc": auc,
        "average_precision": precision,
    }


def cross_entropy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Return the mean of ``-log p`` of the true class, in nats."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, _LEAST_PROBABILITY)).mean())


def _balanced_accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return the mean recall of the classes that are among the labels."""
    present = np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro"))


def _ranking(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[float | None, float | None]:
    classes = probabilities.shape[1]
    if len(np.unique(labels)) < classes:
        return None, None
    if classes == 2:
        tumor = probabilities[:, 1]
        return float(roc_auc_score(labels, tumor)), float(average_precision_score(labels, tumor))
    truth = labels[:, None] == np.arange(classes)
    return (
        float(roc_auc_score(truth, probabilities, average="macro")),
        float(average_precision_score(truth, probabilities, average="macro")),
    )


def quality(metrics: Metrics) -> tuple[float, float]:
    """Return what epochs are compared by: AUC, then the lower loss; the loss alone without AUC."""
    auc, loss = metrics["auc"], metrics["loss"]
    assert loss is not None
    return (0.0 if auc is None else auc, -loss)

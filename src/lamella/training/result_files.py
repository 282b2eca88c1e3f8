"""The files that a finished training leaves: their names, and what is in them.

``results`` writes them, and imports torch; who reads them does not.
"""

from dataclasses import dataclass
from typing import Any

from lamella.datasets.settings import TargetKind

HISTORY = "history.tsv"
PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
PICTURES = "pictures"

_JUDGED_BY = {
    TargetKind.CLASSES: ("auc", "accuracy", "balanced_accuracy", "average_precision"),
    TargetKind.MULTI_LABEL: ("auc", "accuracy", "balanced_accuracy", "average_precision"),
    TargetKind.REGRESSION: ("mae", "rmse", "r2", "pearson", "spearman"),
}
"""Figures of the validation split in the history."""


def history_columns(kind: TargetKind) -> tuple[str, ...]:
    """Return the columns of ``history.tsv``."""
    return (
        *("epoch", "train_loss", "validation_loss"),
        *(f"validation_{name}" for name in _JUDGED_BY[kind]),
        *("learning_rate", "seconds", "samples_per_s", "loader_wait_share"),
    )


@dataclass(frozen=True)
class Score:
    """The figure that is drawn over the epochs.

    Attributes:
        name: In the history; also the name of the picture.
        short: What people call it.
    """

    name: str
    short: str


def drawn_score(kind: TargetKind) -> Score:
    """Return the figure that is drawn over the epochs; it is 1 at best."""
    if kind is TargetKind.REGRESSION:
        return Score("r2", "R²")
    return Score("auc", "AUC")


def answer_column(kind: TargetKind, name: str) -> str:
    """Return the column of ``predictions.parquet`` with the answers about a class or column."""
    return f"{'value' if kind is TargetKind.REGRESSION else 'probability'}_{name}"


def target_column(name: str) -> str:
    """Return its column with what is true of a label or number."""
    return f"target_{name}"


def learned_kind(metrics: dict[str, Any]) -> TargetKind:
    """Return what a training has learned, from ``metrics.json``; of old, only classes."""
    target = metrics.get("settings", {}).get("target", {})
    return TargetKind(target.get("kind", TargetKind.CLASSES))

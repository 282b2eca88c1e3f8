"""All that ``metrics.json`` says of the answers to one split."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from lamella.evaluation.aggregation import Aggregation
from lamella.evaluation.answers import Answers
from lamella.evaluation.bootstrap import RESAMPLES, Intervals, bootstrap
from lamella.evaluation.levels import Level, Units, find_units, patient_numbers
from lamella.evaluation.metrics import Metrics, class_metrics, classification_metrics

Evaluation = dict[str, Any]
"""Plain values, as they stand in ``metrics.json``; docs/training.md, section Evaluation."""


def evaluate(
    table: pd.DataFrame,
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
    *,
    remark: str = "",
) -> Evaluation:
    """Return how good answers are: per patch, and per slide and patient by each aggregation.

    Args:
        table: Labelled patches of one split, at least one: ``slide patient slide_label label``.
        probabilities: ``(n, classes)``, row by row as in the table.
        classes: Names of the labels 0, 1, …
        remark: Why these patches say nothing of a slide; empty where they do.
    """
    labels = table["label"].to_numpy(np.int64)
    patches = Answers(labels, probabilities, patient_numbers(table))
    return {
        **evaluate_answers(patches, classes),
        **{
            level.value: _level(find_units(table, level, classes), level, probabilities, classes)
            if not remark
            else nothing(remark)
            for level in Level
        },
    }


def evaluate_answers(answers: Answers, classes: Sequence[str]) -> Evaluation:
    """Return how good answers to samples of one level are, with 95 % intervals over patients."""
    labels, probabilities = answers.labels, answers.probabilities
    metrics = classification_metrics(labels, probabilities)
    confusion = confusion_matrix(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(classes))
    )
    return {
        **with_intervals(metrics, bootstrap(answers)),
        "classes": {
            name: class_metrics(labels, probabilities, label) for label, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
    }


def with_intervals(metrics: Metrics, intervals: Intervals) -> Evaluation:
    """Return metrics with the limits of each, and with what these rest on."""
    return {
        **metrics,
        "intervals": {
            name: list(intervals.limits[name])
            if name in intervals.limits and value is not None
            else None
            for name, value in metrics.items()
            if name != "n"
        },
        "bootstrap": {
            "patients": intervals.patients,
            "resamples": RESAMPLES,
            "left_out": intervals.left_out,
        },
    }


def _level(
    units: Units, level: Level, probabilities: NDArray[np.float32], classes: Sequence[str]
) -> Evaluation:
    if not units.rows:
        return nothing(f"no {level} whose class is known", without_truth=units.without_truth)
    return {
        "n": len(units.rows),
        "without_truth": units.without_truth,
        "remark": _remark(units, level, classes),
        **{
            aggregation.value: evaluate_answers(units.answers(probabilities, aggregation), classes)
            for aggregation in Aggregation
        },
    }


def nothing(remark: str, *, without_truth: int = 0) -> Evaluation:
    """Return what is said of slides or patients of which nothing is said, and why."""
    aggregations = dict.fromkeys(aggregation.value for aggregation in Aggregation)
    return {"n": 0, "without_truth": without_truth, "remark": remark, **aggregations}


def _remark(units: Units, level: Level, classes: Sequence[str]) -> str:
    """Say why there is no AUC, where there is none."""
    present = {classes[label] for label in units.truth.tolist()}
    missing = [name for name in classes if name not in present]
    return f"no AUC: no {level} is {' or '.join(missing)}" if missing else ""

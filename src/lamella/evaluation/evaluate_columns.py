"""All that ``metrics.json`` says of the answers about labels or numbers of the slide table."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.evaluation.aggregation import Aggregation
from lamella.evaluation.answers import ColumnAnswers
from lamella.evaluation.bootstrap import Intervals, Weighable, intervals_of, renumbered
from lamella.evaluation.columns import columns_of
from lamella.evaluation.evaluate import Evaluation, nothing, with_intervals
from lamella.evaluation.levels import ColumnUnits, Level, find_column_units, patient_numbers
from lamella.evaluation.losses import sample_losses
from lamella.evaluation.metrics import Metrics

PLURALS = {TargetKind.MULTI_LABEL: "labels", TargetKind.REGRESSION: "values"}
"""Under what name an evaluation holds those of its columns."""

_AGGREGATIONS = {
    TargetKind.MULTI_LABEL: tuple(Aggregation),
    TargetKind.REGRESSION: (Aggregation.MEAN,),
}
"""What is made of the answers to many patches; the others are of probabilities."""


def evaluate_columns(
    table: pd.DataFrame, targets: Targets, outputs: NDArray[np.floating], *, remark: str = ""
) -> Evaluation:
    """Return how good answers are: per patch, and per slide and patient by each aggregation.

    Args:
        table: Patches of one split of which something is known, at least one: ``slide patient``.
        targets: Labels or numbers, row by row as in the table.
        outputs: ``(n, k)``, the probability of each label, or numbers in the units of the table.
        remark: Why these patches say nothing of a slide; empty where they do.
    """
    return {
        **evaluate_column_answers(ColumnAnswers(targets, outputs, patient_numbers(table))),
        **{
            level.value: _level(find_column_units(table, level, targets), level, outputs)
            if not remark
            else nothing(remark)
            for level in Level
        },
    }


def evaluate_column_answers(answers: ColumnAnswers) -> Evaluation:
    """Return how good answers to samples of one level are: means over the columns, and of each."""
    metrics = column_metrics(answers.targets, answers.outputs)
    return {
        **with_intervals(metrics, _joint_intervals(answers)),
        PLURALS[answers.targets.kind]: {
            name: column.evaluate() if column else None
            for name, column in columns_of(answers).items()
        },
    }


def column_metrics(targets: Targets, outputs: NDArray[np.floating]) -> Metrics:
    """Return the metrics of a set of samples, each the mean over the labels or values.

    Args:
        targets: Labels or numbers of the samples, at least one; something is known of each.
        outputs: ``(n, k)``.

    Returns:
        ``n``; ``loss``, the mean of ``sample_losses``; as means over the columns, ``None`` where it
        is undefined for one of them, what ``Label.metrics`` or ``Value.metrics`` gives.
    """
    nobody = np.zeros(len(targets), dtype=np.int64)
    columns = columns_of(ColumnAnswers(targets, outputs, nobody)).values()
    each: list[Metrics] = [column.metrics() if column else {} for column in columns]
    names = dict.fromkeys(name for metrics in each for name in metrics)
    return {
        **{name: _mean([metrics.get(name) for metrics in each]) for name in names},
        "n": len(targets),
        "loss": float(sample_losses(targets, outputs).mean()),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _joint_intervals(answers: ColumnAnswers) -> Intervals:
    """Return intervals of the means over the columns, of the same patients for all columns."""
    patients, n = renumbered(answers.patients)
    answers = replace(answers, patients=patients)
    columns = [column.weighable(n) for column in columns_of(answers).values() if column]
    losses = np.bincount(patients, sample_losses(answers.targets, answers.outputs), n)
    samples = np.bincount(patients, minlength=n)

    def are_usable(weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.all([column.are_usable(weights) for column in columns], axis=0))

    def metrics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        each = [column.metrics(weights) for column in columns]
        shared = set.intersection(*(set(found) for found in each))
        means = {name: np.mean([found[name] for found in each], axis=0) for name in shared}
        return {**means, "loss": weights @ losses / (weights @ samples)}

    return intervals_of(Weighable(are_usable, metrics), n)


def _level(units: ColumnUnits, level: Level, outputs: NDArray[np.floating]) -> Evaluation:
    made = _AGGREGATIONS[units.targets.kind]
    return {
        "n": len(units.rows),
        # Patches of slides of which nothing is known are not judged.
        "without_truth": 0,
        "remark": _remark(units.targets, level),
        **{
            each.value: evaluate_column_answers(units.answers(outputs, each))
            if each in made
            else None
            for each in Aggregation
        },
    }


def _remark(targets: Targets, level: Level) -> str:
    """Say why there is no mean AUC of labels, where there is none."""
    if targets.kind is TargetKind.REGRESSION:
        return ""
    missing = [
        f"{name} {label}"
        for number, name in enumerate(targets.names)
        for label in (0, 1)
        if not (targets.truth[:, number] == label).any()
    ]
    return f"no AUC: no {level} has {' or '.join(missing)}" if missing else ""

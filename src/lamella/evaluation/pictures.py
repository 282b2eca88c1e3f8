"""What the answers to a split look like: ROC, calibration, confusion matrix, scatter."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from lamella.charts import (
    PALETTE,
    Dots,
    Line,
    matrix_chart,
    panels,
    scatter_chart,
    share_chart,
)
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.evaluation.aggregation import SCORE_AGGREGATION, Aggregation
from lamella.evaluation.answers import Answers, ColumnAnswers
from lamella.evaluation.calibration import reliability_bins
from lamella.evaluation.columns import Label, Value, columns_of
from lamella.evaluation.evaluate import Evaluation
from lamella.evaluation.levels import Level, find_column_units, find_units, patient_numbers
from lamella.evaluation.metrics import ranked_classes

_POINTS = 400
"""Points of a curve: finer than the picture's pixels."""

_DRAWN_PATCHES = 1000
"""Most patches of a scatter; more would hide each other."""

_SEED = 0
"""Seed of the choice of patches that are drawn."""

_CHANCE = Line([(0, 0), (1, 1)], "#a9afbf", dashed=True)


def draw_split(
    table: pd.DataFrame,
    targets: Targets,
    outputs: NDArray[np.float32],
    evaluation: Evaluation,
) -> dict[str, Markup]:
    """Return pictures of the answers to one split, an SVG each, by name.

    Args:
        table: Patches of which something is known, as for ``evaluate_split``.
        targets: What is true of them.
        outputs: What the network says of them.
        evaluation: What ``evaluate_split`` says of that.

    Returns:
        ``roc``, ``calibration`` and ``confusion`` of classes, ``roc`` and ``calibration`` of
        labels, ``scatter`` of numbers.
    """
    match targets.kind:
        case TargetKind.CLASSES:
            return draw_evaluation(table, outputs, targets.names, evaluation)
        case TargetKind.MULTI_LABEL:
            return _draw_labels(ColumnAnswers(targets, outputs, patient_numbers(table)))
        case TargetKind.REGRESSION:
            return {"scatter": _draw_values(table, targets, outputs)}


def draw_evaluation(
    table: pd.DataFrame,
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
    evaluation: Evaluation,
) -> dict[str, Markup]:
    """Return an SVG each for ``roc``, ``calibration`` and ``confusion``.

    Args:
        table: Labelled patches of one split, as for ``evaluate``.
        probabilities: ``(n, classes)``.
        classes: Names of the labels 0, 1, …
        evaluation: What ``evaluate`` says of them.
    """
    patches = Answers(table["label"].to_numpy(np.int64), probabilities, patient_numbers(table))
    samples = {"patches": patches}
    for level in Level:
        if evaluation[level.value]["n"]:
            units = find_units(table, level, classes)
            samples[f"{level}s"] = units.answers(probabilities, SCORE_AGGREGATION)
    return {
        "roc": roc_chart(samples, classes),
        "calibration": calibration_chart(patches, classes),
        "confusion": matrix_chart(
            evaluation["confusion"],
            classes,
            title="Confusion matrix of the patches",
            x_name="predicted",
            y_name="true",
        ),
    }


def roc_chart(samples: dict[str, Answers], classes: Sequence[str]) -> Markup:
    """Return ROC curves: of two classes one a level, of more one a class, of the first level.

    Args:
        samples: Answers by the name of their level, patches first.
        classes: Names of the labels 0, 1, …
    """
    patches = next(iter(samples.values()))
    if len(classes) == 2:
        curves = {name: (answers, 1) for name, answers in samples.items()}
    else:
        curves = {name: (patches, label) for label, name in enumerate(classes)}
    return _roc(curves)


def calibration_chart(answers: Answers, classes: Sequence[str]) -> Markup:
    """Return how often each probability is right: of two classes that of class 1, else of each."""
    shown = (1,) if len(classes) == 2 else tuple(range(len(classes)))
    curves = {classes[label]: (answers, label) for label in shown}
    return _calibration(curves, "probability of the class", "share that is of the class")


def _draw_labels(patches: ColumnAnswers) -> dict[str, Markup]:
    """Return a curve for each label, of those of which something is known."""
    labels = columns_of(patches).items()
    curves = {name: (each.answers, 1) for name, each in labels if isinstance(each, Label)}
    calibration = _calibration(curves, "probability of the label", "share that has the label")
    return {"roc": _roc(curves), "calibration": calibration}


def _draw_values(table: pd.DataFrame, targets: Targets, outputs: NDArray[np.float32]) -> Markup:
    """Return a panel for each number of which something is known: patches, and means of slides."""
    patches = columns_of(ColumnAnswers(targets, outputs, patient_numbers(table)))
    units = find_column_units(table, Level.SLIDE, targets)
    slides = columns_of(units.answers(outputs, Aggregation.MEAN))
    charts = [
        _scatter(name, each, slides[name])
        for name, each in patches.items()
        if isinstance(each, Value)
    ]
    return panels(charts, title="True and predicted values")


def _scatter(name: str, patches: Value, slides: Label | Value | None) -> Markup:
    chosen = np.random.default_rng(_SEED).permutation(len(patches.true))[:_DRAWN_PATCHES]
    clouds = [Dots(_pairs(patches, np.sort(chosen)), PALETTE[0], "patches", 2.0, 0.3)]
    if isinstance(slides, Value):
        every = np.arange(len(slides.true))
        clouds.append(Dots(_pairs(slides, every), PALETTE[1], "means of slides", 4.0, 0.9))
    return scatter_chart(
        clouds,
        title=f"True and predicted {name}",
        x_name=f"true {name}",
        y_name=f"predicted {name}",
    )


def _pairs(value: Value, rows: NDArray[np.int64]) -> list[tuple[float, float]]:
    return list(zip(value.true[rows].tolist(), value.predicted[rows].tolist(), strict=True))


_Curves = Mapping[str, tuple[Answers, int]]
"""Answers, and the class that is looked for, by the name of the curve."""


def _roc(curves: _Curves) -> Markup:
    lines = [
        Line(_roc_points(answers, label), colour, name=name)
        for colour, (name, (answers, label)) in zip(PALETTE, curves.items(), strict=False)
        if ranked_classes(answers.labels, answers.probabilities.shape[1])
    ]
    return share_chart(
        [_CHANCE, *lines],
        title="ROC curves",
        x_name="false positive rate",
        y_name="true positive rate",
    )


def _calibration(curves: _Curves, x_name: str, y_name: str) -> Markup:
    lines = [
        Line(_reliability_points(answers, label), colour, name=name, dots=True)
        for colour, (name, (answers, label)) in zip(PALETTE, curves.items(), strict=False)
    ]
    title = "Calibration of the patches"
    return share_chart([_CHANCE, *lines], title=title, x_name=x_name, y_name=y_name)


def _roc_points(answers: Answers, label: int) -> list[tuple[float, float]]:
    false, true, _ = roc_curve(answers.labels == label, answers.probabilities[:, label])
    # Both rise, so their sum goes along the curve from 0 to 2.
    kept = np.unique(np.searchsorted(false + true, np.linspace(0, 2, _POINTS)))
    return list(zip(false[kept].tolist(), true[kept].tolist(), strict=True))


def _reliability_points(answers: Answers, label: int) -> list[tuple[float, float]]:
    bins = reliability_bins(answers.probabilities[:, label], answers.labels == label)
    return [(each.confidence, each.accuracy) for each in bins]

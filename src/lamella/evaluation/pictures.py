"""What the answers to a split look like: ROC, calibration, confusion matrix."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from lamella.charts import PALETTE, Line, matrix_chart, share_chart
from lamella.evaluation.aggregation import SCORE_AGGREGATION
from lamella.evaluation.answers import Answers
from lamella.evaluation.calibration import reliability_bins
from lamella.evaluation.evaluate import Evaluation
from lamella.evaluation.levels import Level, find_units, patient_numbers
from lamella.evaluation.metrics import ranked_classes

_POINTS = 400
"""Points of a curve: finer than the picture's pixels."""

_CHANCE = Line([(0, 0), (1, 1)], "#a9afbf", dashed=True)


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
    lines = [
        Line(_roc_points(answers, label), colour, name=name)
        for colour, (name, (answers, label)) in zip(PALETTE, curves.items(), strict=False)
        if ranked_classes(answers.labels, len(classes))
    ]
    return share_chart(
        [_CHANCE, *lines],
        title="ROC curves",
        x_name="false positive rate",
        y_name="true positive rate",
    )


def calibration_chart(answers: Answers, classes: Sequence[str]) -> Markup:
    """Return how often each probability is right: of two classes that of class 1, else of each."""
    shown = (1,) if len(classes) == 2 else tuple(range(len(classes)))
    lines = [
        Line(_reliability_points(answers, label), colour, name=classes[label], dots=True)
        for colour, label in zip(PALETTE, shown, strict=False)
    ]
    return share_chart(
        [_CHANCE, *lines],
        title="Calibration of the patches",
        x_name="probability of the class",
        y_name="share that is of the class",
    )


def _roc_points(answers: Answers, label: int) -> list[tuple[float, float]]:
    false, true, _ = roc_curve(answers.labels == label, answers.probabilities[:, label])
    # Both rise, so their sum goes along the curve from 0 to 2.
    kept = np.unique(np.searchsorted(false + true, np.linspace(0, 2, _POINTS)))
    return list(zip(false[kept].tolist(), true[kept].tolist(), strict=True))


def _reliability_points(answers: Answers, label: int) -> list[tuple[float, float]]:
    bins = reliability_bins(answers.probabilities[:, label], answers.labels == label)
    return [(each.confidence, each.accuracy) for each in bins]

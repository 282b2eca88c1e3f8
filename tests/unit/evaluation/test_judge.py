"""Each kind of target is judged by its own metrics."""

import numpy as np
import pandas as pd

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.evaluate import evaluate
from lamella.evaluation.evaluate_columns import evaluate_columns
from lamella.evaluation.judge import evaluate_split, judge
from lamella.evaluation.metrics import classification_metrics

TABLE = pd.DataFrame(
    {"slide": ["a", "a", "b"], "patient": ["p", "p", "q"], "slide_label": "", "label": [1, 0, 1]}
)
OUTPUTS = np.array([[0.3, 0.7], [0.6, 0.4], [0.8, 0.2]], dtype=np.float32)


def test_classes_are_judged_as_ever():
    targets = Targets(TargetKind.CLASSES, ("normal", "tumor"), np.array([1, 0, 1]))
    assert judge(targets, OUTPUTS) == classification_metrics(targets.truth, OUTPUTS)
    found = evaluate_split(TABLE, targets, OUTPUTS, remark="drawn")
    assert found == evaluate(TABLE, OUTPUTS, ("normal", "tumor"), remark="drawn")


def test_labels_and_numbers_are_judged_by_columns():
    truth = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    labels = Targets(TargetKind.MULTI_LABEL, ("er", "her2"), truth)
    assert judge(labels, OUTPUTS)["auc"] == 0.25  # er 0.0, her2 0.5
    assert evaluate_split(TABLE, labels, OUTPUTS) == evaluate_columns(TABLE, labels, OUTPUTS)
    scale = Scale(np.zeros(2), np.ones(2))
    numbers = Targets(TargetKind.REGRESSION, ("er", "her2"), truth, scale)
    # er .7 .4 .8, her2 .7 .6 .2
    assert round(judge(numbers, OUTPUTS)["mae"], 6) == round((1.9 + 1.5) / 6, 6)

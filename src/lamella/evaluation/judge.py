"""Judge the outputs of a network, whatever it has learned."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.evaluation.evaluate import Evaluation, evaluate
from lamella.evaluation.evaluate_columns import column_metrics, evaluate_columns
from lamella.evaluation.metrics import Metrics, classification_metrics


def judge(targets: Targets, outputs: NDArray[np.floating]) -> Metrics:
    """Return the metrics of some samples; ``quality`` compares them.

    Args:
        targets: What is true of them; something is known of each, and there is one at least.
        outputs: ``(n, classes)`` or ``(n, k)`` probabilities, or ``(n, k)`` numbers in the units of
            the slide table.
    """
    if targets.kind is TargetKind.CLASSES:
        return classification_metrics(targets.truth.astype(np.int64), outputs)
    return column_metrics(targets, outputs)


def evaluate_split(
    table: pd.DataFrame, targets: Targets, outputs: NDArray[np.float32], *, remark: str = ""
) -> Evaluation:
    """Return all that ``metrics.json`` says of the answers to one split.

    Args:
        table: Its patches of which something is known: ``slide patient slide_label label``.
        targets: What is true of them, row by row.
        outputs: As in ``judge``.
        remark: Why the patches say nothing of a slide; empty where they do.
    """
    if targets.kind is TargetKind.CLASSES:
        return evaluate(table, outputs, targets.names, remark=remark)
    return evaluate_columns(table, targets, outputs, remark=remark)

"""Write what a finished training leaves: network, history, predictions, metrics, pictures."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.charts import PALETTE, line_chart
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.evaluation.evaluate import Evaluation
from lamella.evaluation.judge import evaluate_split
from lamella.evaluation.metrics import Metrics
from lamella.evaluation.pictures import draw_split
from lamella.models.interface import EXAMPLE_NAME, write_example
from lamella.stores.atomic import replacing, write_text
from lamella.stores.json_files import write_json
from lamella.stores.tables import write_table
from lamella.training import REVISION
from lamella.training.checkpoint import BEST, EpochRow, Progress, TrainedModel, save_trained
from lamella.training.curves import loss_lines, score_lines
from lamella.training.result_files import (
    HISTORY,
    METRICS,
    PICTURES,
    PREDICTIONS,
    answer_column,
    drawn_score,
    history_columns,
    target_column,
)
from lamella.training.settings import TrainingSettings

_PREDICTION_COLUMNS = ["slide", "patient", "slide_label", "split", "x", "y", "label"]


@dataclass(frozen=True)
class Judged:
    """The best network's answers for one split.

    Attributes:
        table: The split's rows of the patch index of which something is known.
        targets: What is true of them.
        outputs: ``(n, outputs)`` probabilities, or numbers in the units of the slide table.
    """

    table: pd.DataFrame
    targets: Targets
    outputs: NDArray[np.float32]


def history_row(epoch: int, train_loss: float, validation: Metrics, others: EpochRow) -> EpochRow:
    """Return a row of ``history.tsv``."""
    judged = {f"validation_{key}": value for key, value in validation.items() if key != "n"}
    return {"epoch": epoch, "train_loss": train_loss, **judged, **others}


def write_results(
    folder: Path,
    model: TrainedModel,
    progress: Progress,
    judged: dict[str, Judged],
    training: TrainingSettings,
    *,
    remark: str,
) -> None:
    """Write the results of a training; ``metrics.json`` is the last.

    Args:
        folder: Where to.
        model: The best network.
        progress: The history of the training.
        judged: The best network's answers for validation and test.
        training: Backend and number of processes.
        remark: Why the patches say nothing of a slide; empty where they do.
    """
    save_trained(folder / BEST, model)
    write_example(folder / EXAMPLE_NAME, model.patch_px)
    write_table(folder / HISTORY, history_columns(model.kind), progress.history)
    with replacing(folder / PREDICTIONS) as temporary:
        prediction_table(judged).to_parquet(temporary, index=False)
    evaluations = {
        split: evaluate_split(each.table, each.targets, each.outputs, remark=remark)
        for split, each in judged.items()
    }
    _write_pictures(folder / PICTURES, model, progress, judged["test"], evaluations["test"])
    write_json(folder / METRICS, metrics_content(model, progress, evaluations, training))


def _write_pictures(
    folder: Path, model: TrainedModel, progress: Progress, test: Judged, evaluation: Evaluation
) -> None:
    """Write the learning curves, and what the answers to the test split look like, as SVG."""
    history, best = progress.history, progress.best_epoch
    score = drawn_score(model.kind)
    loss = loss_lines(history, best_epoch=best, colour=PALETTE[0])
    scores = score_lines(history, score.name, best_epoch=best, colour=PALETTE[0])
    title = f"Validation {score.short}"
    pictures = {
        "loss": line_chart(loss, title="Loss", x_name="epoch"),
        score.name: line_chart(scores, title=title, x_name="epoch", ceiling=1.0),
        **draw_split(test.table, test.targets, test.outputs, evaluation),
    }
    for name, picture in pictures.items():
        write_text(folder / f"{name}.svg", picture + "\n")


def prediction_table(judged: dict[str, Judged]) -> pd.DataFrame:
    """Return one row per judged patch.

    It has the column ``probability_<name>`` for each class or label, or ``value_<name>`` for each
    number; and what is true of a label or number in ``target_<name>``.
    """
    parts = [
        each.table[_PREDICTION_COLUMNS].assign(**_truth_columns(each), **_answer_columns(each))
        for each in judged.values()
    ]
    return pd.concat(parts, ignore_index=True)


def _answer_columns(judged: Judged) -> dict[str, NDArray[np.float32]]:
    return {
        answer_column(judged.targets.kind, name): judged.outputs[:, number]
        for number, name in enumerate(judged.targets.names)
    }


def _truth_columns(judged: Judged) -> dict[str, NDArray[np.generic]]:
    targets = judged.targets
    if targets.kind is TargetKind.CLASSES:
        return {}
    return {target_column(name): targets.truth[:, n] for n, name in enumerate(targets.names)}


def metrics_content(
    model: TrainedModel,
    progress: Progress,
    evaluations: dict[str, Evaluation],
    training: TrainingSettings,
) -> dict[str, Any]:
    """Return the content of ``metrics.json``; only ``timings`` differs from run to run."""
    return {
        "run": model.name,
        "seed": model.seed,
        "settings": model.run.as_params(),
        "classes": list(model.classes),
        "patch_px": model.patch_px,
        "mpp": model.mpp,
        "index_digest": model.index_digest,
        "backend": str(training.backend),
        "world_size": training.processes,
        "revision": REVISION,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        **evaluations,
        "timings": {
            "seconds_per_epoch": _mean(progress.history, "seconds"),
            "samples_per_s": _mean(progress.history, "samples_per_s"),
        },
    }


def _mean(history: list[EpochRow], column: str) -> float:
    return round(fmean(value for row in history if (value := row[column]) is not None), 3)

"""The files that a finished training leaves: network, history, predictions, metrics, pictures."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.charts import PALETTE, line_chart
from lamella.evaluation.evaluate import Evaluation, evaluate
from lamella.evaluation.metrics import Metrics
from lamella.evaluation.pictures import draw_evaluation
from lamella.models.interface import EXAMPLE_NAME, write_example
from lamella.stores.atomic import replacing, write_text
from lamella.stores.json_files import write_json
from lamella.stores.tables import write_table
from lamella.training import REVISION
from lamella.training.checkpoint import BEST, EpochRow, Progress, TrainedModel, save_trained
from lamella.training.curves import auc_lines, loss_lines
from lamella.training.settings import TrainingSettings

HISTORY = "history.tsv"
PREDICTIONS = "predictions.parquet"
METRICS = "metrics.json"
PICTURES = "pictures"

HISTORY_COLUMNS = (
    "epoch",
    "train_loss",
    "validation_loss",
    "validation_auc",
    "validation_accuracy",
    "validation_balanced_accuracy",
    "validation_average_precision",
    "learning_rate",
    "seconds",
    "samples_per_s",
    "loader_wait_share",
)
_PREDICTION_COLUMNS = ["slide", "patient", "slide_label", "split", "x", "y", "label"]


@dataclass(frozen=True)
class Judged:
    """The best network's answers for one split.

    Attributes:
        table: The split's rows of the patch index.
        probabilities: ``(n, classes)``.
    """

    table: pd.DataFrame
    probabilities: NDArray[np.float32]


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
    write_table(folder / HISTORY, HISTORY_COLUMNS, progress.history)
    with replacing(folder / PREDICTIONS) as temporary:
        prediction_table(judged, model.classes).to_parquet(temporary, index=False)
    evaluations = {
        split: evaluate(each.table, each.probabilities, model.classes, remark=remark)
        for split, each in judged.items()
    }
    _write_pictures(folder / PICTURES, model, progress, judged["test"], evaluations["test"])
    write_json(folder / METRICS, metrics_content(model, progress, evaluations, training))


def _write_pictures(
    folder: Path, model: TrainedModel, progress: Progress, test: Judged, evaluation: Evaluation
) -> None:
    """Write the learning curves, and what the answers to the test split look like, as SVG."""
    history, best = progress.history, progress.best_epoch
    loss = loss_lines(history, best_epoch=best, colour=PALETTE[0])
    auc = auc_lines(history, best_epoch=best, colour=PALETTE[0])
    pictures = {
        "loss": line_chart(loss, title="Loss", x_name="epoch"),
        "auc": line_chart(auc, title="Validation AUC", x_name="epoch", ceiling=1.0),
        **draw_evaluation(test.table, test.probabilities, model.classes, evaluation),
    }
    for name, picture in pictures.items():
        write_text(folder / f"{name}.svg", picture + "\n")


def prediction_table(judged: dict[str, Judged], classes: tuple[str, ...]) -> pd.DataFrame:
    """Return one row per judged patch, with the column ``probability_<class>`` for each class."""
    parts = [
        each.table[_PREDICTION_COLUMNS].assign(
            **{
                f"probability_{name}": each.probabilities[:, label]
                for label, name in enumerate(classes)
            }
        )
        for each in judged.values()
    ]
    return pd.concat(parts, ignore_index=True)


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

"""What MLflow is told of a training."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamella.evaluation.evaluate_columns import PLURALS
from lamella.models.interface import (
    EXAMPLE_NAME,
    INPUT_NAME,
    MODEL_TYPES,
    OUTPUT_NAMES,
)
from lamella.tracking.record import Dataset, Metric, ModelArtifact, Record, Tensor
from lamella.training.checkpoint import BEST, EpochRow, Progress
from lamella.training.result_files import HISTORY, METRICS, PICTURES, PREDICTIONS, learned_kind

_LOADER = "lamella.training.pyfunc"
_NOT_CURVES = ("epoch", "ended_ms")
# Names of classes are free; MLflow allows these characters in names of metrics.
_NOT_IN_NAMES = re.compile(r"[^/\w.\- ]")


def training_record(
    metrics: dict[str, Any],
    progress: Progress,
    *,
    index: Path,
    started_ms: int,
) -> Record:
    """Return the record of a finished training: parameters, curves, figures, data, network, files.

    Times of the curves are those of the epochs, so that results written again are no new run.

    Args:
        metrics: The content of ``metrics.json``.
        progress: The history of the training.
        index: The table of all patches.
        started_ms: When this job began, milliseconds since 1970.
    """
    facts = ("run", "seed", "patch_px", "mpp", "backend", "world_size", "index_digest")
    return Record(
        kind="training",
        name=f"{metrics['run']} seed {metrics['seed']}",
        params={key: str(metrics[key]) for key in facts} | _flat(metrics["settings"]),
        metrics=_curves(progress) + _figures(metrics, progress) + usage_metrics(progress),
        artifacts=[HISTORY, PREDICTIONS, PICTURES, METRICS],
        datasets=[
            # MLflow keeps one dataset of a name and digest, and the digest is that of all splits.
            Dataset(
                name=_dataset(context),
                digest=metrics["index_digest"],
                source=str(index),
                context=context,
            )
            for context in ("training", "validation", "test")
        ],
        model=_best_network(metrics, progress),
        started_ms=started_ms,
    )


def usage_metrics(progress: Progress) -> list[Metric]:
    """Return what every rank used in every epoch, as MLflow's page "System metrics" shows it.

    MLflow's own monitor calls metrics of several nodes ``system/<node>/<name>``; a rank is a node.

    Args:
        progress: The history of the training, and what was used; nothing where it was not measured.

    Raises:
        ValueError: not as many epochs were measured as there are in the history.
    """
    if not progress.usage:
        return []
    return [
        Metric(
            key=f"system/rank{rank}/{name}",
            value=value,
            step=int(row["epoch"] or 0),
            timestamp_ms=_ended_ms(row),
        )
        for row, ranks in zip(progress.history, progress.usage, strict=True)
        for rank, used in enumerate(ranks)
        for name, value in used.items()
    ]


def _dataset(split: str) -> str:
    return f"patches {split}"


def _best_network(metrics: dict[str, Any], progress: Progress) -> ModelArtifact:
    """Return the best network, as MLflow is to keep it; only exports are registered."""
    facts = ("run", "seed", "patch_px", "mpp", "index_digest")
    patches = (-1, metrics["patch_px"], metrics["patch_px"], 3)
    classes = metrics["classes"]
    kind = learned_kind(metrics)
    return ModelArtifact(
        path=BEST,
        loader=_LOADER,
        inputs=(Tensor(name=INPUT_NAME, dtype="uint8", shape=patches),),
        outputs=(Tensor(name=OUTPUT_NAMES[kind], dtype="float32", shape=(-1, len(classes))),),
        input_example=EXAMPLE_NAME,
        name=metrics["run"],
        step=progress.best_epoch,
        params={key: str(metrics[key]) for key in facts}
        | {"classes": ", ".join(classes), "epoch": str(progress.best_epoch)},
        model_type=MODEL_TYPES[kind],
    )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = str(value)
    return found


def _curves(progress: Progress) -> list[Metric]:
    return [
        Metric(key=key, value=value, step=int(row["epoch"] or 0), timestamp_ms=_ended_ms(row))
        for row in progress.history
        for key, value in row.items()
        if key not in _NOT_CURVES and value is not None
    ]


def _figures(metrics: dict[str, Any], progress: Progress) -> list[Metric]:
    """Return the best epoch, and the figures of its network, which belong to the network, too."""
    at: dict[str, Any] = {
        "step": progress.best_epoch,
        "timestamp_ms": _ended_ms(progress.history[-1]),
    }
    figures = [
        Metric(
            key=f"best/{_NOT_IN_NAMES.sub('_', key)}",
            value=value,
            of_model=True,
            dataset=_dataset(split),
            **at,
        )
        for split in ("validation", "test")
        for key, value in _numbers(metrics[split], split)
    ]
    return [Metric(key="best_epoch", value=progress.best_epoch, **at), *figures]


def _numbers(evaluation: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield the metrics of an evaluation, and the limits of its AUC, by a joined name."""
    for key, value in evaluation.items():
        if key == "intervals" and value.get("auc") is not None:
            yield from zip((f"{prefix}_auc_low", f"{prefix}_auc_high"), value["auc"], strict=True)
        elif key == "classes":
            # Their names are free, and may be those of other parts of an evaluation.
            for name, figures in value.items():
                yield from _defined(figures, f"{prefix}_classes_{name}")
        elif key in PLURALS.values():
            for name, figures in value.items():
                yield from _numbers(figures or {}, f"{prefix}_{key}_{name}")
        elif isinstance(value, dict) and key not in {"intervals", "bootstrap"}:
            yield from _numbers(value, f"{prefix}_{key}")
    yield from _defined(evaluation, prefix)


def _defined(figures: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in figures.items():
        if isinstance(value, int | float):
            yield f"{prefix}_{key}", value


def _ended_ms(row: EpochRow) -> int:
    return int(row["ended_ms"] or 0)

"""Explain patches of the test split with Grad-CAM."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from lamella.datasets.settings import TargetKind
from lamella.engines.samples import read_patches
from lamella.errors import UnexplainableError
from lamella.export.choose import choose_seed
from lamella.export.settings import SelectionMetric
from lamella.interpret.about import ABOUT, write_about
from lamella.interpret.cam import conv_stage, grad_cam, mass_in_dark
from lamella.interpret.choose import choose_confident, choose_highest, read_answers
from lamella.interpret.pictures import draw_explanation
from lamella.interpret.settings import InterpretSettings
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.atomic import replacing
from lamella.stores.tables import write_table
from lamella.tracking.record import Dataset, Record, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import TrainedModel, load_trained
from lamella.training.result_files import PREDICTIONS

logger = logging.getLogger(__name__)

COLUMNS = (
    *("slide", "x", "y", "label", "predicted", "probability"),
    *("cam_on_dark_share", "dark_share", "lift", "file"),
)
"""Columns of ``explanations.tsv``. What speaks for ``label`` is explained, and ``probability`` is
that of ``label``; ``predicted`` is the most probable class. Of runs that learn columns of the slide
table ``label`` is the column, and ``probability`` the answer about it. ``lift`` is the share of the
map's mass that lies on the darkest pixels over the share of the patch that these pixels are: 1 is
chance."""

_METHOD = "grad_cam"
_SPLIT = "test"
_BATCH = 16


def explain_patches(
    *,
    index: Path,
    metrics: Sequence[Path],
    output: Path,
    run: str,
    metric: SelectionMetric,
    settings: InterpretSettings,
    tracking: TrackingSettings,
) -> None:
    """Write ``explanations.tsv`` and beside it ``about.json`` and ``patches/``, a picture a patch.

    A network that Grad-CAM cannot explain gets a table without rows; ``about.json`` says why.

    Args:
        index: ``results/patches/index.parquet``.
        metrics: ``metrics.json`` of every seed of the run.
        output: The table.
        run: Name of the run.
        metric: Figure by which the seed is chosen; that of the export, so that the network is the
            exported one.
        settings: Which patches, which stage.
        tracking: Where the explanation is tracked.

    Raises:
        StoreError: the predictions are about other patches.
    """
    started_ms = now_ms()
    candidate = choose_seed(metrics, metric)
    model = load_trained(candidate.metrics)
    patch_index = read_index(index)
    answers = read_answers(candidate.metrics.with_name(PREDICTIONS), patch_index)
    chosen = _choose(answers, model, most=settings.patches_per_class)
    pictures = output.parent / "patches"
    _remove_pictures(pictures)
    try:
        stage = conv_stage(model, settings.stage_from_end)
    except UnexplainableError as error:
        logger.warning("nothing is explained: %s", error)
        rows, reason = [], str(error)
    else:
        reason = ""
        rows = _explain(model, stage, chosen, patch_index, pictures, dark_share=settings.dark_share)
    about = output.with_name(ABOUT)
    write_about(
        about,
        method=_METHOD,
        model=model.run.model,
        seed=model.seed,
        kind=model.kind,
        reason=reason,
    )
    write_table(output, COLUMNS, rows)
    record = _record(rows, model, patch_index, run, settings)
    record.started_ms = started_ms
    track(record, output.parent, tracking)
    logger.info("explained %d patches of seed %d", len(rows), model.seed)


def _choose(answers: pd.DataFrame, model: TrainedModel, *, most: int) -> pd.DataFrame:
    if model.kind is TargetKind.CLASSES:
        return choose_confident(answers, model.classes, split=_SPLIT, most=most)
    return choose_highest(answers, model.kind, model.classes, split=_SPLIT, most=most)


def _remove_pictures(folder: Path) -> None:
    """Remove what an earlier run has drawn: its patches are others."""
    for picture in folder.glob("*.png"):
        picture.unlink()


def _explain(
    model: TrainedModel,
    stage: nn.Module,
    chosen: pd.DataFrame,
    index: PatchIndex,
    folder: Path,
    *,
    dark_share: float,
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for start in range(0, len(chosen), _BATCH):
        batch = chosen.iloc[start : start + _BATCH]
        patches = read_patches(batch, index)
        # A copy: torch takes no arrays that it must not write to.
        labels = batch["label"].to_numpy(dtype=np.int64, copy=True)
        cams = grad_cam(model, stage, patches, labels)
        # Dicts: names of classes need not be names of attributes.
        for place, patch, cam in zip(batch.to_dict("records"), patches, cams, strict=True):
            name = _picture_name(place, model)
            _write_picture(folder / name, patch, cam)
            mass, chance = mass_in_dark(cam, patch, dark_share=dark_share)
            figures = {"cam_on_dark_share": mass, "dark_share": chance}
            rows.append(_row(place, model, figures, f"{folder.name}/{name}"))
    return rows


def _write_picture(path: Path, patch: NDArray[np.uint8], cam: NDArray[np.float32]) -> None:
    with replacing(path) as temporary:
        draw_explanation(patch, cam).save(temporary, optimize=True)


def _row(
    place: dict[Any, Any], model: TrainedModel, figures: dict[str, float | None], file: str
) -> dict[str, object]:
    mass, chance = figures["cam_on_dark_share"], figures["dark_share"]
    lift = None if mass is None or not chance else mass / chance
    shown = {**figures, "lift": lift, "probability": place["probability"]}
    return {
        "slide": place["slide"],
        "x": place["x"],
        "y": place["y"],
        "label": model.classes[place["label"]],
        "predicted": _predicted(place, model),
        "file": file,
        **{name: None if value is None else f"{value:.4f}" for name, value in shown.items()},
    }


def _picture_name(place: dict[Any, Any], model: TrainedModel) -> str:
    # One patch may be explained for several labels or numbers.
    output = "" if model.kind is TargetKind.CLASSES else f"_output{place['label']}"
    return f"{place['slide']}_x{place['x']}_y{place['y']}{output}.png"


def _predicted(place: dict[Any, Any], model: TrainedModel) -> str:
    """Return the most probable class; of a label whether it is probable, of a number its name."""
    if model.kind is TargetKind.CLASSES:
        probabilities = [place[f"probability_{name}"] for name in model.classes]
        return str(model.classes[int(np.argmax(probabilities))])
    name = str(model.classes[place["label"]])
    if model.kind is TargetKind.MULTI_LABEL and place["probability"] <= 0.5:
        return f"not {name}"
    return name


def _record(
    rows: list[dict[str, object]],
    model: TrainedModel,
    index: PatchIndex,
    run: str,
    settings: InterpretSettings,
) -> Record:
    record = Record(
        kind="explanation",
        name=f"{_METHOD} {run}",
        params={
            **{name: str(value) for name, value in settings.as_params().items()},
            "method": _METHOD,
            "run": run,
            "seed": str(model.seed),
            "epoch": str(model.epoch),
        },
        artifacts=["explanations.tsv", ABOUT, *(str(row["file"]) for row in rows)],
        datasets=[
            Dataset(
                name="patches",
                digest=index.digest,
                source="results/patches/index.parquet",
                context=_SPLIT,
            )
        ],
    )
    record.add_metrics({"patches": len(rows), **_mean_lifts(rows, model.classes)})
    return record


def _mean_lifts(rows: list[dict[str, object]], classes: tuple[str, ...]) -> dict[str, float]:
    means = {}
    for name in classes:
        lifts = [float(str(row["lift"])) for row in rows if row["label"] == name and row["lift"]]
        if lifts:
            means[f"lift_{name}"] = sum(lifts) / len(lifts)
    return means

"""Predict the patches of every slide."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lamella
from lamella import predict
from lamella.cohort.split import read_splits
from lamella.cohort.table import Slide, read_slides
from lamella.datasets.settings import TargetKind
from lamella.engines.engine import Engine
from lamella.engines.load import FORMATS, engine_version, load_engine
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict, read_parity
from lamella.errors import SettingsError
from lamella.evaluation.aggregate import aggregate
from lamella.evaluation.aggregation import SCORE_AGGREGATION, Aggregation
from lamella.evaluation.sampling import score_remark
from lamella.export.description import ModelDescription, read_description
from lamella.fleet.fingerprint import fingerprint
from lamella.fleet.manifest import ManifestRow, Status, read_manifest
from lamella.fleet.run import SlideTask, run_stage
from lamella.fleet.settings import FleetSettings
from lamella.patches.settings import PatchSettings
from lamella.predict.heatmap import (
    LONGEST_PX,
    PROBABILITIES,
    ColourScale,
    Overview,
    draw_heatmap,
    heatmap_fingerprint,
    mean_map,
    write_heatmap,
)
from lamella.predict.patches import predict_patches
from lamella.predict.predictions import (
    Predictions,
    heatmap_path,
    read_predictions,
    read_stored_predictions,
    write_predictions,
)
from lamella.predict.settings import PredictSettings
from lamella.slurm.settings import DEFAULT_SITE, SiteSettings
from lamella.stores.json_files import digest
from lamella.stores.shards import read_stored
from lamella.stores.tables import write_table
from lamella.tissue.mask import read_mask, read_thumbnail
from lamella.tracking.record import Dataset, Record, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings

logger = logging.getLogger(__name__)

STAGE = "predict_slides"
SCORE_COLUMNS = (
    *("slide", "patient", "split", "label", "status"),
    *("n", "score", "mean_probability", "share_above_half", "remark"),
)
"""Columns of ``scores.tsv``; a slide without predictions has empty figures. ``remark`` says why a
slide with predictions has none; else it is empty."""


@dataclass(frozen=True)
class _Job:
    slide: str
    slide_path: Path
    shard: Path
    mask: Path
    export_folder: Path
    model_digest: str
    output: Path
    settings: PredictSettings
    scale: ColourScale
    fingerprint: str


@dataclass(frozen=True)
class _Inputs:
    """What is predicted, by slide, the folders that paths are relative to, and the model."""

    masks: dict[str, ManifestRow]
    patches: dict[str, ManifestRow]
    masks_folder: Path
    patches_folder: Path
    export_folder: Path
    model: ModelDescription


def predict_slides(  # noqa: PLR0913 - every input of the rule by its name
    *,
    slides: Path,
    splits: Path,
    masks: Path,
    patches: Path,
    export_folder: Path,
    parity: Path,
    manifest: Path,
    scores: Path,
    settings: PredictSettings,
    patch_settings: PatchSettings,
    fleet: FleetSettings,
    tracking: TrackingSettings,
    site: SiteSettings = DEFAULT_SITE,
) -> None:
    """Write ``slides/{slide}.h5`` and ``heatmaps/{slide}.png`` beside the manifest, and the scores.

    Args:
        slides: Checked slide table.
        splits: Table of splits.
        masks: Manifest of ``segment_tissue``.
        patches: Manifest of ``extract_patches``; its failed slides stay failed.
        export_folder: What ``export_model`` wrote for the run.
        parity: ``parity.tsv`` of ``check_parity`` for the run.
        manifest: The manifest; ``n`` counts patches.
        scores: One row per slide, in table order.
        settings: Engine, target class and score; of a run that learns columns of the slide table,
            the first is drawn and scored.
        patch_settings: How the patches were chosen.
        fleet: Workers.
        tracking: Where the prediction is tracked.
        site: The cluster, where the workers are SLURM jobs.

    Raises:
        EngineUnavailableError: the engine or its device is not here.
        SettingsError: the engine does not answer like the trained network, or the model does not
            know the target class.
        StoreError: the engine was not compared with the trained network.
    """
    started_ms = now_ms()
    _check_engine(settings.engine, parity)
    engine_version(settings.engine, settings.device)
    model = read_description(export_folder / FORMATS[settings.engine])
    settings = settings.model_copy(update={"target": _target(settings, model, export_folder)})
    inputs = _Inputs(
        masks=read_manifest(masks),
        patches=read_manifest(patches),
        masks_folder=masks.parent,
        patches_folder=patches.parent,
        export_folder=export_folder,
        model=model,
    )
    cohort = read_slides(slides)
    plan = [_plan(slide, inputs, manifest.parent, settings) for slide in cohort]
    rows = run_stage(
        STAGE,
        predict_slide,
        plan,
        manifest=manifest,
        stored=functools.partial(read_stored_predictions, target=settings.target),
        settings=fleet,
        site=site,
    )
    remark = score_remark(patch_settings.sampling, patch_settings.label_source)
    _write_scores(scores, cohort, splits, rows, settings, kind=model.kind, remark=remark)
    record = _record(rows, inputs, model, settings, manifest.parent.name)
    record.started_ms = started_ms
    track(record, manifest.parent, tracking)


def _plan(
    row: Slide, inputs: _Inputs, folder: Path, settings: PredictSettings
) -> SlideTask | ManifestRow:
    slide = row.slide
    patches, mask = inputs.patches[slide], inputs.masks[slide]
    if patches.status is Status.FAILED:
        return patches
    made_of = fingerprint(
        STAGE,
        predict.REVISION,
        settings.inference,
        patches=patches.fingerprint,
        mask=mask.fingerprint,
        model=inputs.model.digest,
    )
    output = folder / "slides" / f"{slide}.h5"
    job = _Job(
        slide=slide,
        slide_path=row.path,
        shard=inputs.patches_folder / patches.path,
        mask=inputs.masks_folder / mask.path,
        export_folder=inputs.export_folder,
        model_digest=inputs.model.digest,
        output=output,
        settings=settings,
        scale=_colour_scale(inputs.model, settings.target),
        fingerprint=made_of,
    )
    return SlideTask(slide, patches.n, output, made_of, job)


def predict_slide(job: _Job) -> int:
    """Write predictions and heatmap of one slide; return the number of patches.

    Predictions of the same patches by the same model are kept, and only drawn.
    """
    stored = read_stored(job.output)
    if stored is not None and stored.fingerprint == job.fingerprint:
        predictions = read_predictions(job.output)
    else:
        predictions = _predict(job)
        write_predictions(job.output, predictions, _attributes(job))
    made_of = heatmap_fingerprint(job.fingerprint, target=job.settings.target)
    write_heatmap(heatmap_path(job.output), _draw(job, predictions), fingerprint=made_of)
    return len(predictions.x)


def _predict(job: _Job) -> Predictions:
    settings = job.settings
    engine = _engine(settings, job.export_folder, job.model_digest)
    return predict_patches(
        job.shard,
        job.slide_path,
        engine,
        batch_size=settings.batch_size,
        readers=settings.readers,
    )


@functools.lru_cache(maxsize=1)
def _engine(settings: PredictSettings, export_folder: Path, model_digest: str) -> Engine:
    """Return the engine of this worker process; it is loaded once for all slides of a model."""
    logger.info("loading %s for model %s", settings.engine, model_digest[:12])
    return load_engine(
        settings.engine,
        export_folder,
        device=settings.device,
        threads=settings.threads,
        batch_sizes=(settings.batch_size,),
    )


def _draw(job: _Job, predictions: Predictions) -> Image.Image:
    mask = read_mask(job.mask)
    overview = Overview(read_thumbnail(job.mask), mask.pixels, int(mask.cell_l0))
    values = mean_map(
        predictions.x,
        predictions.y,
        predictions.of(job.settings.target),
        edge_l0=predictions.edge_l0,
        size_l0=overview.size_l0,
        size_px=overview.size_px(LONGEST_PX),
    )
    return draw_heatmap(overview, values, target=job.settings.target, scale=job.scale)


def _attributes(job: _Job) -> dict[str, Any]:
    return {
        "lamella_version": lamella.__version__,
        "slide": job.slide,
        "fingerprint": job.fingerprint,
        "engine": str(job.settings.engine),
        "device": str(job.settings.device),
        "model_digest": job.model_digest,
    }


def _write_scores(
    path: Path,
    cohort: Sequence[Slide],
    splits: Path,
    rows: Sequence[ManifestRow],
    settings: PredictSettings,
    *,
    kind: TargetKind,
    remark: str,
) -> None:
    split_of = read_splits(splits)
    table = [
        {
            "slide": slide.slide,
            "patient": slide.patient,
            "split": split_of.get(slide.slide, ""),
            "label": slide.label,
            "status": row.status,
            "n": row.n,
            **_figures(row, path.parent, settings, kind, remark),
        }
        for slide, row in zip(cohort, rows, strict=True)
    ]
    write_table(path, SCORE_COLUMNS, table)


def _figures(
    row: ManifestRow, folder: Path, settings: PredictSettings, kind: TargetKind, remark: str
) -> dict[str, str]:
    if row.status is not Status.DONE:
        return {}
    if remark:
        return {"remark": remark}
    target = read_predictions(folder / row.path).of(settings.target)
    if kind is TargetKind.REGRESSION:
        return {"score": f"{aggregate(target, Aggregation.MEAN):.6f}"}
    figures = {
        "score": aggregate(target, SCORE_AGGREGATION, top_share=settings.top_share),
        "mean_probability": aggregate(target, Aggregation.MEAN),
        "share_above_half": _share_above_half(target),
    }
    return {name: f"{value:.6f}" for name, value in figures.items()}


def _share_above_half(probabilities: NDArray[np.float32]) -> float:
    return float((probabilities > 0.5).mean())


def _check_engine(engine: EngineName, parity: Path) -> None:
    row = read_parity(parity, engine, Precision.F32)
    if row["verdict"] != Verdict.VALID:
        raise SettingsError(
            f"{engine} in f32 is {row['verdict']} in {parity} ({row['reason']})",
            "predict.engine",
            "Choose an engine that answers like the trained network",
        )


def _target(settings: PredictSettings, model: ModelDescription, export_folder: Path) -> str:
    """Return the class that is drawn and scored; of labels and numbers the first one."""
    target = settings.target
    if target not in model.classes:
        if model.kind is not TargetKind.CLASSES:
            return model.classes[0]
        raise SettingsError(
            f"the model in {export_folder} does not know the class {target!r}",
            "predict.target",
            f"Choose one of {', '.join(model.classes)}",
        )
    return target


def _colour_scale(model: ModelDescription, target: str) -> ColourScale:
    """Return what the colours mean: of a number, two standard deviations about its mean."""
    if model.kind is not TargetKind.REGRESSION:
        return PROBABILITIES
    number = model.classes.index(target)
    mean, reach = model.means[number], 2 * model.deviations[number]
    return ColourScale(mean - reach, mean + reach, "predicted ")


def _record(
    rows: Sequence[ManifestRow],
    inputs: _Inputs,
    model: ModelDescription,
    settings: PredictSettings,
    run: str,
) -> Record:
    record = Record(
        kind="prediction",
        name=f"predict {run}",
        params={
            **{name: str(value) for name, value in settings.as_params().items()},
            "run": run,
            "seed": str(model.origin.seed),
            "model_digest": model.digest,
        },
        artifacts=["scores.tsv"],
        datasets=[
            Dataset(
                name="patches",
                digest=digest([inputs.patches[row.slide].fingerprint for row in rows]),
                source="results/patches/manifest.tsv",
                context="inference",
            )
        ],
    )
    counts = {f"slides_{status}": sum(row.status is status for row in rows) for status in Status}
    record.add_metrics({**counts, "patches": sum(row.n for row in rows)})
    return record

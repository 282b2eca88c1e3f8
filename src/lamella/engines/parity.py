"""Prove that the exported models answer like the trained network."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.engines.agreement import Agreement, answers_auc, compare
from lamella.engines.engine import Engine
from lamella.engines.fit import check_patches_fit
from lamella.engines.load import FORMATS, engine_version, formats_read, load_engine
from lamella.engines.samples import (
    REFERENCE_NAME,
    Reference,
    batches,
    choose_patches,
    read_patches,
    write_reference,
)
from lamella.engines.settings import EngineName, ParitySettings, Precision
from lamella.engines.verdict import COLUMNS, Verdict
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelFormat, read_description
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.tables import write_table, written
from lamella.tracking.record import Dataset, Record, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import TrainedModel, load_trained
from lamella.training.result_files import PREDICTIONS, target_column

_log = logging.getLogger(__name__)
_PLACE = ["slide", "x", "y"]


@dataclass(frozen=True)
class ParityRow:
    """One engine in one precision, compared with the trained network."""

    engine: EngineName
    precision: Precision
    version: str
    verdict: Verdict
    reason: str
    agreement: Agreement | None


@dataclass(frozen=True)
class _Sample:
    """The patches that are compared.

    Attributes:
        reference: The trained network's answers.
        patches: ``(n, H, W, 3)``.
        targets: What is true of them; of some nothing may be known.
    """

    reference: Reference
    patches: NDArray[np.uint8]
    targets: Targets


def check_parity(
    *,
    export_folder: Path,
    index: Path,
    output: Path,
    settings: ParitySettings,
    tracking: TrackingSettings,
) -> None:
    """Compare every engine in every precision with the trained network on held-out patches.

    Args:
        export_folder: What ``export_model`` wrote.
        index: ``results/patches/index.parquet``.
        output: ``parity.tsv``; the trained network's answers go to ``reference.parquet`` beside it.
        settings: Engines, precisions, patches and limits.
        tracking: Where the comparison is tracked.

    Raises:
        StoreError: the patches do not fit the model, or none is held out.
    """
    started_ms = now_ms()
    patch_index = read_index(index)
    sample = _sample(export_folder, patch_index, settings, index)
    write_reference(output.with_name(REFERENCE_NAME), sample.reference)
    # Engine by engine: torch must be loaded before TensorFlow.
    rows = [
        _compare(name, precision, export_folder, sample, settings)
        for name in settings.engines
        for precision in settings.precisions
    ]
    write_table(output, COLUMNS, [_cells(row, settings) for row in rows])
    record = _record(rows, sample, settings, f"parity {export_folder.name}")
    record.started_ms = started_ms
    record.artifacts = [f"../{output.name}"]
    # A folder of its own: that of the table holds the record of the export.
    track(record, output.with_suffix(""), tracking)
    for row in rows:
        _log.log(
            logging.INFO if row.verdict is Verdict.VALID else logging.WARNING,
            "%s in %s is %s%s",
            row.engine,
            row.precision,
            row.verdict,
            f": {row.reason}" if row.reason else "",
        )


def _sample(
    export_folder: Path, index: PatchIndex, settings: ParitySettings, where: Path
) -> _Sample:
    folder = export_folder / ModelFormat.ONNX
    description = read_description(folder)
    check_patches_fit(description, patch_px=index.patch_px, mpp=index.mpp, where=str(where))
    table = choose_patches(index, most=settings.patches, seed=settings.seed)
    patches = read_patches(table, index)
    metrics = folder / description.origin.metrics
    model = load_trained(metrics)
    answers = _answer(model.inference(), patches, settings)
    if not np.isfinite(answers).all():
        raise StoreError(
            "the trained network itself gives answers that are not finite",
            str(metrics),
            "Look at its losses, and train it again with a lower learning rate",
        )
    units = np.array(description.deviations) if description.deviations else 1.0
    if len(answers) > 1 and (np.ptp(answers, axis=0) / units).max() <= settings.limits.f32:
        _log.warning(
            "the trained network says the same of all %d patches: other engines may do so, too,"
            " and differ elsewhere",
            len(answers),
        )
    reference = Reference(
        table=table,
        probabilities=answers,
        index_digest=index.digest,
        models={
            str(stored): read_description(export_folder / stored).digest
            for stored in formats_read(settings.engines)
        },
    )
    return _Sample(reference, patches, _targets(model, table, metrics.with_name(PREDICTIONS)))


def _targets(model: TrainedModel, table: pd.DataFrame, predictions: Path) -> Targets:
    """Return what is true of rows of the index.

    Labels stand in the predictions of the training, which are of all held-out patches of which
    something is known. Numbers are compared without.
    """
    if model.kind is TargetKind.CLASSES:
        return Targets(model.kind, model.classes, table["label"].to_numpy(np.int64))
    columns = [target_column(name) for name in model.classes]
    known = pd.read_parquet(predictions, columns=[*_PLACE, *columns])
    joined = table[_PLACE].merge(known, on=_PLACE, how="left", validate="one_to_one")
    return Targets(model.kind, model.classes, joined[columns].to_numpy(np.float32), model.scale)


def _answer(
    network: torch.nn.Module, patches: NDArray[np.uint8], settings: ParitySettings
) -> NDArray[np.float32]:
    torch.set_num_threads(settings.threads)
    with torch.inference_mode():
        answers = [
            network(torch.from_numpy(batch)).numpy()
            for batch in batches(patches, settings.batch_size)
        ]
    return np.concatenate(answers).astype(np.float32, copy=False)


def _compare(
    name: EngineName,
    precision: Precision,
    export_folder: Path,
    sample: _Sample,
    settings: ParitySettings,
) -> ParityRow:
    try:
        version = engine_version(name, settings.device)
        engine = load_engine(
            name,
            export_folder,
            device=settings.device,
            precision=precision,
            threads=settings.threads,
            batch_sizes=(settings.batch_size,),
        )
        answers = _answers_of(engine, sample.patches, settings.batch_size)
    except (EngineUnavailableError, StoreError) as error:
        return ParityRow(name, precision, "", Verdict.UNAVAILABLE, error.what, None)
    agreement = compare(answers, sample.reference.probabilities, sample.targets)
    limit = settings.limits.of(precision)
    if agreement.within(limit):
        return ParityRow(name, precision, version, Verdict.VALID, "", agreement)
    reason = f"differs by {agreement.max_abs_difference:.3g}, limit {limit:g}"
    return ParityRow(name, precision, version, Verdict.INVALID, reason, agreement)


def _answers_of(engine: Engine, patches: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    return np.concatenate([engine.infer(batch) for batch in batches(patches, size)])


def _cells(row: ParityRow, settings: ParitySettings) -> dict[str, object]:
    agreement = row.agreement
    return {
        "engine": row.engine,
        "device": settings.device,
        "format": FORMATS[row.engine],
        "precision": row.precision,
        "threads": settings.threads,
        "version": row.version,
        "limit": f"{settings.limits.of(row.precision):g}",
        "verdict": row.verdict,
        "reason": row.reason,
        **({} if agreement is None else _figures(agreement)),
    }


def _figures(agreement: Agreement) -> dict[str, object]:
    return {
        "n": agreement.n,
        "max_abs_difference": f"{agreement.max_abs_difference:.3e}",
        "cosine": written(agreement.cosine, ".9f"),
        "top1_agreement": written(agreement.top1_agreement, ".6f"),
        "auc": written(agreement.auc, ".6f"),
        "auc_difference": written(agreement.auc_difference, ".3e"),
    }


def _record(rows: list[ParityRow], sample: _Sample, settings: ParitySettings, name: str) -> Record:
    reference = sample.reference
    record = Record(
        kind="parity",
        name=name,
        params={
            **{f"limit_{each}": f"{settings.limits.of(each):g}" for each in settings.precisions},
            "device": str(settings.device),
            "threads": str(settings.threads),
            "patches": str(len(reference.table)),
            **{f"verdict_{row.engine}_{row.precision}": str(row.verdict) for row in rows},
        },
        datasets=[
            Dataset(
                name="patches",
                digest=reference.index_digest,
                source="results/patches/index.parquet",
                context="validation and test",
            )
        ],
    )
    record.add_metrics(_tracked_figures(rows, answers_auc(reference.probabilities, sample.targets)))
    return record


def _tracked_figures(rows: list[ParityRow], reference_auc: float | None) -> dict[str, float]:
    figures = {} if reference_auc is None else {"auc_reference": reference_auc}
    for row in rows:
        if row.agreement is not None:
            name = f"{row.engine}_{row.precision}"
            figures[f"max_abs_difference_{name}"] = row.agreement.max_abs_difference
            if row.agreement.top1_agreement is not None:
                figures[f"top1_agreement_{name}"] = row.agreement.top1_agreement
    return figures

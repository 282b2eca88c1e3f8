"""Prove that the exported models answer like the trained network."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.engines.agreement import Agreement, compare_answers, patch_auc
from lamella.engines.engine import Engine
from lamella.engines.fit import check_patches_fit
from lamella.engines.load import FORMATS, engine_version, load_engine
from lamella.engines.samples import (
    REFERENCE_NAME,
    Reference,
    batches,
    choose_patches,
    read_patches,
    write_reference,
)
from lamella.engines.settings import EngineName, ParitySettings
from lamella.engines.verdict import COLUMNS, PRECISION, Verdict
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelFormat, read_description
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.tables import write_table
from lamella.tracking.record import Dataset, Record, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import load_trained

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParityRow:
    """One engine, compared with the trained network."""

    engine: EngineName
    version: str
    verdict: Verdict
    reason: str
    agreement: Agreement | None


def check_parity(
    *,
    export_folder: Path,
    index: Path,
    output: Path,
    settings: ParitySettings,
    tracking: TrackingSettings,
) -> None:
    """Compare every engine with the trained network on held-out patches.

    Args:
        export_folder: What ``export_model`` wrote.
        index: ``results/patches/index.parquet``.
        output: ``parity.tsv``; the trained network's answers go to ``reference.parquet`` beside it.
        settings: Engines, patches and limit.
        tracking: Where the comparison is tracked.

    Raises:
        StoreError: the patches do not fit the model, or none is held out.
    """
    started_ms = now_ms()
    patch_index = read_index(index)
    reference, patches = _reference(export_folder, patch_index, settings, index)
    write_reference(output.with_name(REFERENCE_NAME), reference)
    rows = [
        _compare(name, export_folder, patches, reference, settings) for name in settings.engines
    ]
    write_table(output, COLUMNS, [_cells(row, settings) for row in rows])
    record = _record(rows, reference, settings, f"parity {export_folder.name}")
    record.started_ms = started_ms
    record.artifacts = [f"../{output.name}"]
    # A folder of its own: that of the table holds the record of the export.
    track(record, output.with_suffix(""), tracking)
    for row in rows:
        _log.log(
            logging.INFO if row.verdict is Verdict.VALID else logging.WARNING,
            "%s is %s%s",
            row.engine,
            row.verdict,
            f": {row.reason}" if row.reason else "",
        )


def _reference(
    export_folder: Path, index: PatchIndex, settings: ParitySettings, where: Path
) -> tuple[Reference, NDArray[np.uint8]]:
    """Return the trained network's answers, and the patches they are about."""
    folder = export_folder / ModelFormat.ONNX
    description = read_description(folder)
    check_patches_fit(description, patch_px=index.patch_px, mpp=index.mpp, where=str(where))
    table = choose_patches(index, most=settings.patches, seed=settings.seed)
    patches = read_patches(table, index)
    network = load_trained(folder / description.origin.metrics).inference()
    reference = Reference(
        table=table,
        probabilities=_answer(network, patches, settings),
        index_digest=index.digest,
        models={
            str(stored): read_description(export_folder / stored).digest for stored in ModelFormat
        },
    )
    return reference, patches


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
    export_folder: Path,
    patches: NDArray[np.uint8],
    reference: Reference,
    settings: ParitySettings,
) -> ParityRow:
    try:
        version = engine_version(name, settings.device)
        engine = load_engine(name, export_folder, device=settings.device, threads=settings.threads)
    except (EngineUnavailableError, StoreError) as error:
        return ParityRow(name, "", Verdict.UNAVAILABLE, error.what, None)
    answers = _answers_of(engine, patches, settings.batch_size)
    labels = reference.table["label"].to_numpy(dtype=np.int16)
    agreement = compare_answers(answers, reference.probabilities, labels)
    if agreement.within(settings.limit):
        return ParityRow(name, version, Verdict.VALID, "", agreement)
    reason = f"differs by {agreement.max_abs_difference:.3g}, limit {settings.limit:g}"
    return ParityRow(name, version, Verdict.INVALID, reason, agreement)


def _answers_of(engine: Engine, patches: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    return np.concatenate([engine.infer(batch) for batch in batches(patches, size)])


def _cells(row: ParityRow, settings: ParitySettings) -> dict[str, object]:
    agreement = row.agreement
    return {
        "engine": row.engine,
        "device": settings.device,
        "format": FORMATS[row.engine],
        "precision": PRECISION,
        "threads": settings.threads,
        "version": row.version,
        "limit": f"{settings.limit:g}",
        "verdict": row.verdict,
        "reason": row.reason,
        **({} if agreement is None else _figures(agreement)),
    }


def _figures(agreement: Agreement) -> dict[str, object]:
    return {
        "n": agreement.n,
        "max_abs_difference": f"{agreement.max_abs_difference:.3e}",
        "cosine": f"{agreement.cosine:.9f}",
        "top1_agreement": f"{agreement.top1_agreement:.6f}",
        "auc": None if agreement.auc is None else f"{agreement.auc:.6f}",
        "auc_difference": (
            None if agreement.auc_difference is None else f"{agreement.auc_difference:.3e}"
        ),
    }


def _record(
    rows: list[ParityRow], reference: Reference, settings: ParitySettings, name: str
) -> Record:
    record = Record(
        kind="parity",
        name=name,
        params={
            "limit": f"{settings.limit:g}",
            "device": str(settings.device),
            "threads": str(settings.threads),
            "patches": str(len(reference.table)),
            **{f"verdict_{row.engine}": str(row.verdict) for row in rows},
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
    labels = reference.table["label"].to_numpy(dtype=np.int16)
    record.add_metrics(_tracked_figures(rows, patch_auc(reference.probabilities, labels)))
    return record


def _tracked_figures(rows: list[ParityRow], reference_auc: float | None) -> dict[str, float]:
    figures = {} if reference_auc is None else {"auc_reference": reference_auc}
    for row in rows:
        if row.agreement is not None:
            figures[f"max_abs_difference_{row.engine}"] = row.agreement.max_abs_difference
            figures[f"top1_agreement_{row.engine}"] = row.agreement.top1_agreement
    return figures

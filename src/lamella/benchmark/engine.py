"""Measure one workload on one engine in one precision."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lamella
from lamella.benchmark.cell import BenchmarkCell, Measurement, write_cell
from lamella.benchmark.host import Host, describe_host
from lamella.benchmark.judge import broken_rules, judge
from lamella.benchmark.measure import Pool
from lamella.benchmark.run import measure_engine
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.benchmark.track import record_of
from lamella.engines.fit import check_patches_fit
from lamella.engines.load import FORMATS
from lamella.engines.samples import REFERENCE_NAME, Reference, read_patches, read_reference
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict, read_parity
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelDescription, read_description
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.tables import Row
from lamella.tracking.record import now_ms
from lamella.tracking.send import keep_record

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Subject:
    """What is measured, and on what."""

    case: BenchmarkCase
    engine: EngineName
    precision: Precision
    export_folder: Path
    description: ModelDescription
    parity: Row
    pool: Pool
    index_digest: str
    host: Host


def benchmark_engine(
    *,
    case: BenchmarkCase,
    engine: EngineName,
    precision: Precision,
    export_folder: Path,
    index: Path,
    parity: Path,
    output: Path,
    settings: BenchmarkSettings,
) -> None:
    """Measure an engine: loading, building, latency, throughput, CPU time, energy and memory.

    Call it in a process of its own: memory and threads of other libraries would be measured too.
    An engine that is unavailable gets a result that says why.

    Args:
        case: The workload.
        engine: The engine.
        precision: Arithmetic that it computes in.
        export_folder: What ``export_model`` wrote.
        index: ``results/patches/index.parquet``.
        parity: ``parity.tsv`` of ``check_parity``, with ``reference.parquet`` beside it.
        output: The JSON file to write.
        settings: How often and with what is measured.

    Raises:
        StoreError: the comparison is missing, or not of this precision, these patches and this
            model.
    """
    started_ms = now_ms()
    subject = _subject(
        case=case,
        engine=engine,
        precision=precision,
        export_folder=export_folder,
        index=index,
        parity=parity,
        settings=settings,
    )
    cell = _measure(subject, settings)
    write_cell(output, cell)
    record = record_of(cell, artifact=f"../{output.name}", started_ms=started_ms)
    # A folder of its own: there is one record per folder, and one file per engine and precision.
    keep_record(record, output.with_suffix(""))
    _log.info("%s", sentence(cell))


def sentence(cell: BenchmarkCell) -> str:
    """Return the result in a line."""
    subject = f"{cell.case} on {cell.engine} in {cell.precision}: {cell.verdict}"
    if cell.measurement is None:
        return f"{subject} ({cell.reason})"
    speeds = ", ".join(
        f"{batch.patches_per_s:.1f} patches/s at batch {batch.batch_size}"
        for batch in cell.measurement.batches
    )
    speeds += "".join(
        f", unavailable at batch {batch_size} ({reason})"
        for batch_size, reason in cell.measurement.batch_failures.items()
    )
    caution = "" if cell.comparable else " - not comparable"
    return f"{subject}{f' ({cell.reason})' if cell.reason else ''}, {speeds}{caution}"


def _subject(
    *,
    case: BenchmarkCase,
    engine: EngineName,
    precision: Precision,
    export_folder: Path,
    index: Path,
    parity: Path,
    settings: BenchmarkSettings,
) -> _Subject:
    description = read_description(export_folder / FORMATS[engine])
    patch_index = read_index(index)
    check_patches_fit(
        description, patch_px=patch_index.patch_px, mpp=patch_index.mpp, where=str(index)
    )
    reference_path = parity.with_name(REFERENCE_NAME)
    reference = read_reference(reference_path)
    _check_reference(reference, patch_index, description, reference_path)
    return _Subject(
        case=case,
        engine=engine,
        precision=precision,
        export_folder=export_folder,
        description=description,
        parity=read_parity(parity, engine, precision),
        pool=_pool(reference, patch_index, description, settings),
        index_digest=patch_index.digest,
        # Now, so that its load is not the one of the measurement.
        host=describe_host(),
    )


def _check_reference(
    reference: Reference, index: PatchIndex, description: ModelDescription, where: Path
) -> None:
    known = (reference.index_digest, reference.models.get(description.format))
    if known != (index.digest, description.digest):
        raise StoreError(
            "the reference answers are about other patches or another model",
            str(where),
            "Delete parity.tsv beside it and run `snakemake benchmark` again",
        )


def _pool(
    reference: Reference,
    index: PatchIndex,
    description: ModelDescription,
    settings: BenchmarkSettings,
) -> Pool:
    order = np.random.default_rng(settings.seeds[0]).permutation(len(reference.table))
    places = np.sort(order[: settings.patches])
    return Pool(
        patches=read_patches(reference.table.iloc[places], index),
        probabilities=reference.probabilities[places],
        units=np.array(description.deviations) if description.deviations else 1.0,
    )


def _measure(subject: _Subject, settings: BenchmarkSettings) -> BenchmarkCell:
    try:
        measurement = measure_engine(
            subject.engine, subject.precision, subject.export_folder, subject.pool, settings
        )
    except EngineUnavailableError as error:
        return _cell(subject, settings, None, Verdict.UNAVAILABLE, error.what)
    verdict, reason = judge(measurement, subject.parity, settings.device)
    return _cell(subject, settings, measurement, verdict, reason)


def _cell(
    subject: _Subject,
    settings: BenchmarkSettings,
    measurement: Measurement | None,
    verdict: Verdict,
    reason: str,
) -> BenchmarkCell:
    description = subject.description
    return BenchmarkCell(
        case=subject.case,
        engine=subject.engine,
        device=settings.device,
        precision=subject.precision,
        threads=settings.threads,
        verdict=verdict,
        reason=reason,
        not_comparable=broken_rules(
            settings, pool=len(subject.pool.patches), measurement=measurement
        ),
        run=description.origin.run,
        seed=description.origin.seed,
        model_digest=description.digest,
        patch_px=description.patch_px,
        pool=len(subject.pool.patches),
        index_digest=subject.index_digest,
        limit=float(subject.parity["limit"]),
        host=subject.host,
        lamella_version=lamella.__version__,
        measurement=measurement,
    )

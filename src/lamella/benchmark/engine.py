"""Measure one workload on one engine."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lamella
from lamella.benchmark.cell import BatchResult, BenchmarkCell, Measurement, broken_rules, write_cell
from lamella.benchmark.host import (
    Host,
    describe_host,
    others_cpu_share,
    own_memory_mib,
    read_cpu_times,
)
from lamella.benchmark.measure import Pool, measure_batch
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.engines.fit import check_patches_fit
from lamella.engines.load import FORMATS, engine_version, load_engine
from lamella.engines.samples import REFERENCE_NAME, Reference, read_patches, read_reference
from lamella.engines.settings import EngineName
from lamella.engines.verdict import PRECISION, Verdict, read_parity
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelDescription, read_description
from lamella.patches.index import PatchIndex, read_index
from lamella.stores.tables import Row
from lamella.tracking.record import Dataset, Record, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings

_log = logging.getLogger(__name__)

_MS_PER_S = 1e3


@dataclass(frozen=True)
class _Subject:
    """What is measured, and on what."""

    case: BenchmarkCase
    engine: EngineName
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
    export_folder: Path,
    index: Path,
    parity: Path,
    output: Path,
    settings: BenchmarkSettings,
    tracking: TrackingSettings,
) -> None:
    """Measure load time, latency, throughput, CPU time and memory of an engine.

    Call it in a process of its own: memory and threads of other libraries would be measured too.
    An engine that is unavailable gets a result that says why.

    Args:
        case: The workload.
        engine: The engine.
        export_folder: What ``export_model`` wrote.
        index: ``results/patches/index.parquet``.
        parity: ``parity.tsv`` of ``check_parity``, with ``reference.parquet`` beside it.
        output: The JSON file to write.
        settings: How often and with what is measured.
        tracking: Where the measurement is tracked.

    Raises:
        StoreError: the comparison is missing, or not of these patches and this model.
    """
    started_ms = now_ms()
    subject = _subject(
        case=case,
        engine=engine,
        export_folder=export_folder,
        index=index,
        parity=parity,
        settings=settings,
    )
    cell = _measure(subject, settings)
    write_cell(output, cell)
    _track(cell, output, tracking, started_ms)
    _log.info("%s", sentence(cell))


def sentence(cell: BenchmarkCell) -> str:
    """Return the result in a line."""
    subject = f"{cell.case} on {cell.engine}: {cell.verdict}"
    if cell.measurement is None:
        return f"{subject} ({cell.reason})"
    speeds = ", ".join(
        f"{batch.patches_per_s:.1f} patches/s at batch {batch.batch_size}"
        for batch in cell.measurement.batches
    )
    caution = "" if cell.comparable else " - not comparable"
    return f"{subject}{f' ({cell.reason})' if cell.reason else ''}, {speeds}{caution}"


def _subject(
    *,
    case: BenchmarkCase,
    engine: EngineName,
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
        export_folder=export_folder,
        description=description,
        parity=read_parity(parity, engine),
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
    order = np.random.default_rng(settings.seed).permutation(len(reference.table))
    places = np.sort(order[: settings.patches])
    return Pool(
        patches=read_patches(reference.table.iloc[places], index),
        probabilities=reference.probabilities[places],
        units=np.array(description.deviations) if description.deviations else 1.0,
    )


def _measure(subject: _Subject, settings: BenchmarkSettings) -> BenchmarkCell:
    try:
        measurement = _run(subject, settings)
    except EngineUnavailableError as error:
        return _cell(subject, settings, None, Verdict.UNAVAILABLE, error.what)
    verdict, reason = judge(measurement.batches, subject.parity)
    return _cell(subject, settings, measurement, verdict, reason)


def _run(subject: _Subject, settings: BenchmarkSettings) -> Measurement:
    rss_before_mib = own_memory_mib("VmRSS")
    begun = time.perf_counter()
    version = engine_version(subject.engine, settings.device)
    imported = time.perf_counter()
    engine = load_engine(
        subject.engine,
        subject.export_folder,
        device=settings.device,
        threads=settings.threads,
    )
    loaded = time.perf_counter()
    times_before = read_cpu_times()
    batches = tuple(
        measure_batch(
            engine,
            subject.pool,
            batch_size=batch_size,
            warmup=settings.warmup,
            iterations=settings.iterations,
            seed=settings.seed,
        )
        for batch_size in settings.batch_sizes
    )
    return Measurement(
        version=version,
        import_ms=(imported - begun) * _MS_PER_S,
        load_ms=(loaded - imported) * _MS_PER_S,
        rss_before_mib=rss_before_mib,
        peak_rss_mib=own_memory_mib("VmHWM"),
        others_cpu_share=others_cpu_share(times_before, read_cpu_times()),
        batches=batches,
    )


def judge(batches: Sequence[BatchResult], parity: Row) -> tuple[Verdict, str]:
    """Return whether timed answers are right, and why not.

    Args:
        batches: What was measured.
        parity: The engine's row of ``parity.tsv``.
    """
    if parity["verdict"] == Verdict.INVALID:
        return Verdict.INVALID, parity["reason"]
    limit = float(parity["limit"])
    for batch in batches:
        # Written so that NaN is not within the limit.
        if not batch.max_abs_difference <= limit:
            difference = f"{batch.max_abs_difference:.3g} at batch {batch.batch_size}"
            return Verdict.INVALID, f"timed answers differ by {difference}, limit {limit:g}"
    return Verdict.VALID, ""


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
        precision=PRECISION,
        threads=settings.threads,
        verdict=verdict,
        reason=reason,
        not_comparable=broken_rules(
            settings,
            pool=len(subject.pool.patches),
            others_cpu_share=0.0 if measurement is None else measurement.others_cpu_share,
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


def _track(cell: BenchmarkCell, output: Path, tracking: TrackingSettings, started_ms: int) -> None:
    record = Record(
        kind="benchmark",
        name=f"{cell.case} {cell.engine}",
        params=_facts(cell),
        artifacts=[f"../{output.name}"],
        datasets=[
            Dataset(
                name="patches",
                digest=cell.index_digest,
                source="results/patches/index.parquet",
                context="inference",
            )
        ],
        started_ms=started_ms,
    )
    if cell.measurement is not None:
        record.add_metrics(_figures(cell.measurement))
    # A folder of its own: there is one record per folder, and one file per engine beside this one.
    track(record, output.with_suffix(""), tracking)


def _facts(cell: BenchmarkCell) -> dict[str, str]:
    facts = {
        "case": cell.case,
        "engine": cell.engine,
        "device": cell.device,
        "precision": cell.precision,
        "threads": cell.threads,
        "run": cell.run,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "not_comparable": "; ".join(cell.not_comparable),
        "cpu": cell.host["cpu"],
        "version": "" if cell.measurement is None else cell.measurement.version,
    }
    return {key: str(value) for key, value in facts.items() if value != ""}


def _figures(measurement: Measurement) -> dict[str, float]:
    figures = {
        "import_ms": measurement.import_ms,
        "load_ms": measurement.load_ms,
        "peak_rss_mib": measurement.peak_rss_mib,
        "others_cpu_share": measurement.others_cpu_share,
    }
    for batch in measurement.batches:
        for key, value in batch.model_dump(exclude={"batch_size", "warmup", "iterations"}).items():
            if value is not None:
                figures[f"batch_{batch.batch_size}/{key}"] = value
    return figures

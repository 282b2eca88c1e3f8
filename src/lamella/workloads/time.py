"""Time one workload on one engine."""

import logging
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import lamella
from lamella.benchmark.host import Host, describe_host
from lamella.benchmark.judge import OTHERS_CPU_SHARE
from lamella.benchmark.settings import BenchmarkSettings
from lamella.engines.load import FORMATS
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.errors import EngineUnavailableError
from lamella.tracking.record import Record, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.workloads.cell import WorkloadCell, WorkloadMeasurement, write_workload_cell
from lamella.workloads.exported import (
    NETWORK_NAME,
    REFERENCE_NAME,
    ExportedNetwork,
    read_answers,
)
from lamella.workloads.fast_table import write_fast_table
from lamella.workloads.inputs import INPUT_NAME, WorkloadInput, open_input
from lamella.workloads.measure import measure_workload
from lamella.workloads.settings import WorkloadSettings, WorkloadSize
from lamella.workloads.sizes import SIZES
from lamella.workloads.slide import WholeSlide
from lamella.workloads.workload import Workload, open_workload

_log = logging.getLogger(__name__)

FEWEST_RUNS = 10
"""Fewest measured runs of a comparable result, as in the paper."""

_LABEL_AGREEMENT = 0.99
# Slides are of all sizes.
_AS_LARGE_SHARE = 0.9


@dataclass(frozen=True)
class _Subject:
    """What is measured."""

    engine: EngineName
    precision: Precision
    workload: Workload
    network: ExportedNetwork
    folder: Path
    source: str
    limit: float
    host: Host
    benchmark: BenchmarkSettings
    settings: WorkloadSettings


def time_workload(
    *,
    engine: EngineName,
    precision: Precision,
    folder: Path,
    output: Path,
    limit: float,
    benchmark: BenchmarkSettings,
    settings: WorkloadSettings,
    tracking: TrackingSettings,
) -> None:
    """Measure a workload from input to result, its stages apart.

    Call it in a process of its own. An engine that is unavailable gets a result that says why.

    Args:
        engine: The engine.
        precision: Arithmetic that it computes in.
        folder: Where ``prepare_workload`` and ``export_workload`` wrote.
        output: The JSON file to write; beside it, with the suffix ``.csv``, the same times as
            FAST's benchmark writes them.
        limit: Largest difference of a probability that is valid.
        benchmark: Device and threads.
        settings: Size, and how often it is run.
        tracking: Where the measurement is tracked.

    Raises:
        StoreError: the prepared input or the network is another one.
    """
    started_ms = now_ms()
    prepared, network = folder / INPUT_NAME, ExportedNetwork.read(folder / NETWORK_NAME)
    subject = _Subject(
        engine=engine,
        precision=precision,
        workload=open_workload(network.case, open_input(prepared), settings),
        network=network,
        folder=folder,
        source=WorkloadInput.read(prepared).source,
        limit=limit,
        # Now, so that its load is not the one of the measurement.
        host=describe_host(),
        benchmark=benchmark,
        settings=settings,
    )
    cell = _measured(subject)
    write_workload_cell(output, cell)
    table = output.with_suffix(".csv")
    write_fast_table(table, cell)
    record = _record(cell, artifacts=[f"../{output.name}", f"../{table.name}"])
    record.started_ms = started_ms
    track(record, output.with_suffix(""), tracking)
    _log.info("%s", sentence(cell))


def sentence(cell: WorkloadCell) -> str:
    """Return the result in a line."""
    subject = f"{cell.case} ({cell.size}) on {cell.engine} in {cell.precision}: {cell.verdict}"
    if cell.measurement is None:
        return f"{subject} ({cell.reason})"
    totals = ", ".join(
        f"{statistics.fmean(run.total_ms for run in kind.runs) / 1e3:.2f} s {kind.mode}"
        f" at batch {kind.batch_size}"
        for kind in cell.measurement.kinds
    )
    return f"{subject}{f' ({cell.reason})' if cell.reason else ''}, {totals}"


def judge_workload(measurement: WorkloadMeasurement, limit: float) -> tuple[Verdict, str]:
    """Return whether an engine's answers are right, and why not.

    Args:
        measurement: What was measured.
        limit: Largest difference of a probability that is valid.
    """
    # Written so that NaN is not within the limit.
    if not measurement.max_abs_difference <= limit:
        found = measurement.max_abs_difference
        return Verdict.INVALID, f"differs by {found:.3g}, limit {limit:g}"
    if measurement.label_agreement < _LABEL_AGREEMENT:
        share = 100 * measurement.label_agreement
        return Verdict.INVALID, f"{share:.2f} % of its classes are the network's, fewer than 99 %"
    worst = max(kind.result_difference for kind in measurement.kinds)
    allowed = 1 - _LABEL_AGREEMENT if measurement.kinds[0].of_labels else limit
    if not worst <= allowed:
        return Verdict.INVALID, f"results of two runs differ by {worst:.3g}, limit {allowed:g}"
    return Verdict.VALID, ""


def broken_rules(
    settings: WorkloadSettings, measurement: WorkloadMeasurement | None, *, as_large: bool
) -> tuple[str, ...]:
    """Return why a measurement would not be comparable; empty where it is.

    Args:
        settings: Size, and how often it is run.
        measurement: What was measured, where the engine is available.
        as_large: Whether a slide is as large as in the paper; clips and volumes are cut to size.
    """
    others = 0.0 if measurement is None else measurement.others_cpu_share
    rules = {
        "smaller than in the paper": settings.size is not WorkloadSize.PAPER or not as_large,
        f"{settings.iterations} runs, fewer than {FEWEST_RUNS}": settings.iterations < FEWEST_RUNS,
        f"other processes took {100 * others:.0f} % of the CPUs, more than"
        f" {100 * OTHERS_CPU_SHARE:.0f} %": others > OTHERS_CPU_SHARE,
    }
    return tuple(rule for rule, broken in rules.items() if broken)


def _measured(subject: _Subject) -> WorkloadCell:
    stored = FORMATS[subject.engine]
    try:
        measurement = measure_workload(
            subject.workload,
            subject.engine,
            subject.precision,
            subject.network.open(subject.folder, stored),
            subject.network.interface,
            answers=read_answers(subject.folder / REFERENCE_NAME),
            benchmark=subject.benchmark,
            settings=subject.settings,
        )
    except EngineUnavailableError as error:
        return _cell(subject, None, Verdict.UNAVAILABLE, error.what)
    return _cell(subject, measurement, *judge_workload(measurement, subject.limit))


def _cell(
    subject: _Subject, measurement: WorkloadMeasurement | None, verdict: Verdict, reason: str
) -> WorkloadCell:
    network = subject.network
    return WorkloadCell(
        case=network.case,
        size=subject.settings.size,
        engine=subject.engine,
        device=subject.benchmark.device,
        precision=subject.precision,
        threads=subject.benchmark.threads,
        readers=subject.settings.readers,
        verdict=verdict,
        reason=reason,
        not_comparable=broken_rules(
            subject.settings, measurement, as_large=_as_large(subject.workload)
        ),
        items=subject.workload.items,
        source=subject.source,
        parameters=network.parameters,
        model_digest=network.digests[FORMATS[subject.engine]],
        limit=subject.limit,
        host=subject.host,
        lamella_version=lamella.__version__,
        measurement=measurement,
    )


def _as_large(workload: Workload) -> bool:
    if not isinstance(workload, WholeSlide):
        return True
    area, wanted = math.prod(workload.size_l0), math.prod(SIZES[WorkloadSize.PAPER].slide_px)
    return area >= _AS_LARGE_SHARE * wanted


def _record(cell: WorkloadCell, *, artifacts: list[str]) -> Record:
    """Return what is tracked: one nested run per cell."""
    facts = {
        "case": cell.case,
        "size": cell.size,
        "engine": cell.engine,
        "device": cell.device,
        "precision": cell.precision,
        "threads": cell.threads,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "source": cell.source,
        "cpu": cell.host["cpu"],
        "not_comparable": "; ".join(cell.not_comparable),
    }
    record = Record(
        kind="benchmark",
        name=f"{cell.case} {cell.engine} {cell.precision}",
        params={key: str(value) for key, value in facts.items() if value != ""},
        artifacts=artifacts,
    )
    if cell.measurement is not None:
        record.add_metrics(_figures(cell.measurement))
    return record


def _figures(measurement: WorkloadMeasurement) -> dict[str, float]:
    figures = {
        "load_ms": measurement.load_ms,
        "first_call_ms": measurement.first_call_ms,
        "peak_rss_mib": measurement.peak_rss_mib,
        "max_abs_difference": measurement.max_abs_difference,
    }
    for kind in measurement.kinds:
        totals = [run.total_ms for run in kind.runs]
        figures[f"{kind.mode}_batch_{kind.batch_size}/total_ms"] = statistics.fmean(totals)
    return figures

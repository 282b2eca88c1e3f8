"""Time one workload on one engine."""

import logging
import statistics
from dataclasses import dataclass
from pathlib import Path

import lamella
from lamella.benchmark.cell import write_cell
from lamella.benchmark.host import Host, describe_host
from lamella.benchmark.settings import BenchmarkSettings
from lamella.engines.load import FORMATS
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.errors import EngineUnavailableError
from lamella.tracking.record import now_ms
from lamella.tracking.send import keep_record
from lamella.workloads.cell import WorkloadCell, WorkloadMeasurement
from lamella.workloads.exported import (
    NETWORK_NAME,
    REFERENCE_NAME,
    ExportedNetwork,
    read_answers,
)
from lamella.workloads.extrapolate import whole_runs
from lamella.workloads.fast_table import write_fast_table
from lamella.workloads.inputs import INPUT_NAME, WorkloadInput, open_input
from lamella.workloads.judge import broken_rules, judge_workload
from lamella.workloads.measure import measure_workload
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.track import record_of
from lamella.workloads.workload import Workload, open_workload

_log = logging.getLogger(__name__)


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
    write_cell(output, cell)
    table = output.with_suffix(".csv")
    write_fast_table(table, cell)
    record = record_of(
        cell, artifacts=[f"../{output.name}", f"../{table.name}"], started_ms=started_ms
    )
    keep_record(record, output.with_suffix(""))
    _log.info("%s", sentence(cell))


def sentence(cell: WorkloadCell) -> str:
    """Return the result in a line."""
    subject = f"{cell.case} ({cell.size}) on {cell.engine} in {cell.precision}: {cell.verdict}"
    if cell.measurement is None:
        return f"{subject} ({cell.reason})"
    totals = ", ".join(
        f"{statistics.fmean(run.total_ms for run in kind.runs) / 1e3:.2f} s {kind.mode}"
        f" at batch {kind.batch_size}"
        for kind in whole_runs(cell)
    )
    totals += "".join(
        f", unavailable at batch {batch_size} ({reason})"
        for batch_size, reason in cell.measurement.batch_failures.items()
    )
    reason = f" ({cell.reason})" if cell.reason else ""
    how = " extrapolated" if cell.extrapolated else ""
    return f"{subject}{reason},{how} {totals}"


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
        not_comparable=broken_rules(subject.settings, measurement, subject.workload),
        items=subject.workload.items,
        run_items=subject.workload.run_items,
        source=subject.source,
        parameters=network.parameters,
        # None where it could not be written for this engine.
        model_digest=network.digests.get(FORMATS[subject.engine], ""),
        limit=subject.limit,
        host=subject.host,
        lamella_version=lamella.__version__,
        measurement=measurement,
    )

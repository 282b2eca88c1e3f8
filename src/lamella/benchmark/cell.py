"""``results/benchmark/{case}/{engine}-{precision}.json``: one workload on one engine."""

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lamella.benchmark.host import Host
from lamella.benchmark.settings import BenchmarkCase, Scenario
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.errors import StoreError
from lamella.settings import Device
from lamella.stores.json_files import read_json, write_json


class CellValue(BaseModel):
    """A part of a result: closed, and read back exactly as it was written."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )


class BatchResult(CellValue):
    """One batch size, measured."""

    batch_size: int
    """Patches per call."""
    warmup: int
    """Calls before the measured ones, the first included."""
    iterations: int
    """Measured calls."""
    first_call_ms: float
    """Latency of the first call with this batch size."""
    latency_ms_median: float
    """Median latency of a call."""
    latency_ms_p90: float | None
    """Latency that 90 % of the calls stay below, with 99 % confidence; absent below 64 calls."""
    latency_ms_p99: float | None
    """The same of 99 %; absent below 662 calls."""
    latency_ms_seeds: tuple[float, ...]
    """Median latency of the calls of each seed."""
    latency_ms_mean: float
    """Mean latency."""
    latency_ms_sd: float | None
    """Standard deviation of the latency; absent for a single call."""
    latency_ms_min: float
    """Lowest latency."""
    patches_per_s: float
    """Patches of all measured calls over their time."""
    cpu_ms_per_patch: float
    """Time of all CPUs that the process took for a patch, its waiting threads included."""
    joules_per_patch: float | None
    """Energy for a patch, of the whole CPUs or the GPU; absent where no counter can be read, or the
    calls were too short for it: 2 s on a GPU, 0.1 s on a CPU."""
    max_abs_difference: float
    """Largest difference of a probability from the trained network's, over all calls; NaN where
    an answer is NaN."""


class Figure(StrEnum):
    """What a scenario is about."""

    LATENCY_MS_P90 = "latency_ms_p90"
    LATENCY_MS_P99 = "latency_ms_p99"
    PATCHES_PER_S = "patches_per_s"
    QUERIES_PER_S = "queries_per_s"


class Trial(CellValue):
    """One rate at which queries came, by all seeds."""

    queries_per_s: float
    """Queries per second, in the mean."""
    late: tuple[int, ...]
    """Queries above the bound of each seed, up to the one by which they were too many."""
    kept: bool
    """Whether 99 % of all seeds' queries stayed below the bound, with 99 % confidence."""


class ScenarioResult(CellValue):
    """One of MLPerf's scenarios."""

    scenario: Scenario
    """How queries came."""
    patches_per_query: int
    """Patches that came at once; `offline`: that were given to the engine at once."""
    queries: int
    """Queries; `server`: of each trial, by all seeds."""
    figure: Figure
    """What is measured."""
    value: float | None
    """The figure; absent where the queries are too few for its quantile. Of `server` the
    highest rate that was tried and kept the bound, 0 where none did."""
    bound_ms: float | None = None
    """Latency that a rate of `server` keeps."""
    trials: tuple[Trial, ...] = ()
    """What was tried for `server`."""
    max_abs_difference: float | None = None
    """Largest difference of a probability from the trained network's in the trials; that of the
    other scenarios stands with their batch size."""


class Measurement(CellValue):
    """What was measured on an engine that is available."""

    version: str
    """Version of the engine's library."""
    import_ms: float
    """Time to import the library."""
    load_ms: float
    """Time to load the model, without what is built of it."""
    build_ms: float | None
    """Time in which the engine built code or a plan of the model while it was loaded; absent where
    it built none, or within the call that read the model."""
    rss_before_mib: float
    """Host memory of the process before the library was imported; the patches are in it."""
    peak_rss_mib: float
    """Highest host memory of the process up to the last call, at whatever batch size."""
    gpu_memory_mib: float | None
    """GPU memory that the process holds after the last call, by NVML; absent on the CPU, and where
    NVML does not know the process."""
    others_cpu_share: float
    """Share of the machine's CPUs, 0-1, that worked for other processes during the calls."""
    energy_source: str
    """What the joules were counted by, or `none: ` and why."""
    repeat_speedup: float
    """Median latency of calls with different patches over that of calls with one and the same."""
    batches: tuple[BatchResult, ...]
    """The batch sizes, at least one."""
    batch_failures: dict[int, str] = Field(default_factory=dict)
    """Why the engine failed at other batch sizes, by their number."""
    scenarios: tuple[ScenarioResult, ...]
    """MLPerf's scenarios."""
    scenario_failures: dict[Scenario, str] = Field(default_factory=dict)
    """Why there is no figure of others."""


class EngineCell(CellValue):
    """What every result says of its engine, and of what makes it comparable or not."""

    case: BenchmarkCase
    """The workload."""
    engine: EngineName
    """The engine."""
    device: Device
    """Where it runs."""
    precision: Precision
    """Arithmetic that it computes in."""
    threads: int
    """Threads that it computes with."""
    verdict: Verdict
    """`valid` where its answers are right."""
    reason: str
    """Why it is not valid; empty where it is."""
    not_comparable: tuple[str, ...]
    """Rules that the measurement breaks: with any, it must not be compared with others."""
    model_digest: str
    """SHA-256 of the model."""
    limit: float
    """Largest difference of a probability that is valid."""
    host: Host
    """The machine."""
    lamella_version: str
    """Version of Lamella."""

    @property
    def comparable(self) -> bool:
        """Whether the measurement may be compared with others."""
        return not self.not_comparable


class BenchmarkCell(EngineCell):
    """The patch classifier on one engine.

    It is valid where the engine passed the comparison of the export, is as accurate as the trained
    network, and every answer of the timed calls is within the limit.
    """

    run: str
    """Run of the model."""
    seed: int
    """Seed of the model's training."""
    patch_px: int
    """Edge length of a patch in pixels."""
    pool: int
    """Patches in memory."""
    index_digest: str
    """Digest of the index that the patches are from."""
    measurement: Measurement | None
    """The figures; absent where the engine is unavailable."""


Cell = TypeVar("Cell", bound=EngineCell)


def write_cell(path: Path, cell: EngineCell) -> None:
    """Write a cell in one step; ``comparable`` stands in it in words."""
    write_json(path, {**cell.model_dump(mode="json"), "comparable": cell.comparable})


def read_cell(path: Path, kind: type[Cell]) -> Cell:
    """Return the cell of a kind that ``write_cell`` wrote.

    Raises:
        StoreError: the file is missing or of another layout.
    """
    try:
        values = read_json(path)
        del values["comparable"]
        return kind.model_validate(values)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"the benchmark result cannot be read ({error})",
            str(path),
            "Delete it and run `snakemake benchmark` again",
        ) from error

"""``results/benchmark/{case}/{engine}.json``: one workload on one engine."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lamella.benchmark.host import Host
from lamella.benchmark.quantile import P90_QUERIES
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.engines.settings import EngineName
from lamella.engines.verdict import Verdict
from lamella.errors import StoreError
from lamella.settings import Device
from lamella.stores.json_files import read_json, write_json

POOL_PATCHES = 1024
"""Fewest patches in memory under MLPerf's rule: fewer might stay in the CPU's caches."""


OTHERS_CPU_SHARE = 0.10
"""Most of the CPUs that other processes may take; more of them slow what is measured."""


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )


class BatchResult(_Value):
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
    max_abs_difference: float
    """Largest difference of a probability from the trained network's, over all calls; NaN where
    an answer is NaN."""


class Measurement(_Value):
    """What was measured on an engine that is available."""

    version: str
    """Version of the engine's library."""
    import_ms: float
    """Time to import the library."""
    load_ms: float
    """Time to load the model, its preparation for the device included."""
    rss_before_mib: float
    """Memory of the process before the library was imported; the patches are in it."""
    peak_rss_mib: float
    """Highest memory of the process up to the last call."""
    others_cpu_share: float
    """Share of the machine's CPUs, 0-1, that worked for other processes during the calls."""
    batches: tuple[BatchResult, ...]
    """The batch sizes."""


class BenchmarkCell(_Value):
    """One workload on one engine, and everything that makes it comparable or not."""

    case: BenchmarkCase
    """The workload."""
    engine: EngineName
    """The engine."""
    device: Device
    """Where it runs."""
    precision: str
    """Arithmetic, `f32`."""
    threads: int
    """Threads that it computes with."""
    verdict: Verdict
    """`valid` where the engine passed the comparison of the export, and every answer of the timed
    calls is within the limit."""
    reason: str
    """Why it is not valid; empty where it is."""
    not_comparable: tuple[str, ...]
    """Rules that the measurement breaks: with any, it must not be compared with others."""
    run: str
    """Run of the model."""
    seed: int
    """Seed of the model's training."""
    model_digest: str
    """SHA-256 of the model file."""
    patch_px: int
    """Edge length of a patch in pixels."""
    pool: int
    """Patches in memory."""
    index_digest: str
    """Digest of the index that the patches are from."""
    limit: float
    """Largest difference of a probability that is valid."""
    host: Host
    """The machine."""
    lamella_version: str
    """Version of Lamella."""
    measurement: Measurement | None
    """The figures; absent where the engine is unavailable."""

    @property
    def comparable(self) -> bool:
        """Whether the measurement may be compared with others."""
        return not self.not_comparable


def broken_rules(
    settings: BenchmarkSettings, *, pool: int, others_cpu_share: float
) -> tuple[str, ...]:
    """Return why a measurement would not be comparable; empty where it is.

    Args:
        settings: How often is measured.
        pool: Patches in memory.
        others_cpu_share: Share of the CPUs that worked for other processes.
    """
    rules = {
        f"{settings.iterations} calls, fewer than {P90_QUERIES}": (
            settings.iterations < P90_QUERIES
        ),
        f"{pool} patches in memory, fewer than {POOL_PATCHES}": pool < POOL_PATCHES,
        f"other processes took {100 * others_cpu_share:.0f} % of the CPUs, more than"
        f" {100 * OTHERS_CPU_SHARE:.0f} %": others_cpu_share > OTHERS_CPU_SHARE,
    }
    return tuple(rule for rule, broken in rules.items() if broken)


def write_cell(path: Path, cell: BenchmarkCell) -> None:
    """Write a cell in one step; ``comparable`` stands in it in words."""
    write_json(path, {**cell.model_dump(mode="json"), "comparable": cell.comparable})


def read_cell(path: Path) -> BenchmarkCell:
    """Return the cell that ``write_cell`` wrote.

    Raises:
        StoreError: the file is missing or of another layout.
    """
    try:
        values = read_json(path)
        del values["comparable"]
        return BenchmarkCell.model_validate(values)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"the benchmark result cannot be read ({error})",
            str(path),
            "Delete it and run `snakemake benchmark` again",
        ) from error

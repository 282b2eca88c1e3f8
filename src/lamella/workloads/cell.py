"""``results/benchmark/{case}/{engine}-{precision}.json`` of a workload: its times on one engine."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lamella.benchmark.host import Host
from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.errors import StoreError
from lamella.settings import Device
from lamella.stores.json_files import read_json, write_json
from lamella.workloads.settings import WorkloadSize
from lamella.workloads.stages import Stage, StageTimes


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )


class Mode(StrEnum):
    """How the stages follow each other."""

    SEQUENTIAL = "sequential"
    OVERLAPPED = "overlapped"


class RunTimes(_Value):
    """One run of a workload, from the input to the result."""

    total_ms: float
    """Wall-clock time."""
    cpu_ms: float
    """Time of all CPUs that the process took."""
    stages: dict[Stage, StageTimes]
    """Times of the stages; `overlapped`: of all threads together."""


class WorkloadRuns(_Value):
    """All measured runs of one kind."""

    mode: Mode
    """`sequential`: one thing after another; `overlapped`:
    patches are read while the engine computes."""
    batch_size: int
    """Frames or patches per call."""
    runs: tuple[RunTimes, ...]
    """The measured runs."""
    of_labels: bool
    """Whether the result is labels; of `wsi` it is probabilities."""
    result_difference: float
    """How far the results of two runs differ at most: share of the labels that are others, or
    largest difference of a probability."""


class WorkloadMeasurement(_Value):
    """What was measured on an engine that is available."""

    version: str
    """Version of the engine's library."""
    import_ms: float
    """Time to import the library."""
    load_ms: float
    """Time to load the model."""
    first_call_ms: float
    """Time of the first call, of one frame or patch."""
    peak_rss_mib: float
    """Highest memory of the process."""
    others_cpu_share: float
    """Share of the machine's CPUs, 0-1, that worked for other processes during the runs."""
    max_abs_difference: float
    """Largest difference of a probability from the network's, over the examples."""
    label_agreement: float
    """Share of the pixels, or patches, of the examples with the network's class."""
    kinds: tuple[WorkloadRuns, ...]
    """The runs."""


class WorkloadCell(_Value):
    """One workload on one engine."""

    case: BenchmarkCase
    """The workload."""
    size: WorkloadSize
    """How large it is."""
    engine: EngineName
    """The engine."""
    device: Device
    """Where it runs."""
    precision: Precision
    """Arithmetic that it computes in."""
    threads: int
    """Threads that it computes with."""
    readers: int
    """Threads that read patches in overlapped runs."""
    verdict: Verdict
    """`valid` where the answers to the examples are the network's, within the limit."""
    reason: str
    """Why it is not valid; empty where it is."""
    not_comparable: tuple[str, ...]
    """Rules that the measurement breaks: with any, it must not be compared with others."""
    items: int
    """Frames or patches of a run."""
    source: str
    """What it works on: a file, or `drawn`."""
    parameters: int
    """Weights of the network."""
    model_digest: str
    """SHA-256 of the model."""
    limit: float
    """Largest difference of a probability that is valid."""
    host: Host
    """The machine."""
    lamella_version: str
    """Version of Lamella."""
    measurement: WorkloadMeasurement | None
    """The figures; absent where the engine is unavailable."""


def write_workload_cell(path: Path, cell: WorkloadCell) -> None:
    """Write a result in one step."""
    write_json(path, cell.model_dump(mode="json"))


def read_workload_cell(path: Path) -> WorkloadCell:
    """Return the result that ``write_workload_cell`` wrote.

    Raises:
        StoreError: the file is missing or of another layout.
    """
    try:
        return WorkloadCell.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the result cannot be read ({error})",
            str(path),
            "Delete it and run `snakemake benchmark` again",
        ) from error

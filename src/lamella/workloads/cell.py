"""``results/benchmark/{case}/{engine}-{precision}.json`` of a workload: its times on one engine."""

from enum import StrEnum

from pydantic import Field

from lamella.benchmark.cell import CellValue, EngineCell
from lamella.workloads.settings import WorkloadSize
from lamella.workloads.stages import Stage, StageTimes


class Mode(StrEnum):
    """How the stages follow each other."""

    SEQUENTIAL = "sequential"
    OVERLAPPED = "overlapped"


class RunTimes(CellValue):
    """One run of a workload, from the input to the result."""

    total_ms: float
    """Wall-clock time."""
    start_ms: float
    """Of it, what does not depend on how many items there are: of `wsi` until the first patch is
    asked for, of `overlapped` runs until the first batch is there; 0 of the others."""
    cpu_ms: float
    """Time of all CPUs that the process took, and those that read for it."""
    joules: float | None = None
    """Energy, of the whole CPUs or the GPU; absent where no counter can be read, the run was too
    short for it (2 s on a GPU, 0.1 s on a CPU), or so long that a CPU's may have gone round."""
    stages: dict[Stage, StageTimes]
    """Times of the stages; `overlapped`: of all processes together."""


class WorkloadRuns(CellValue):
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
    unanswered: int
    """Pixels, voxels or patches without an answer that is finite, in the worst of all runs."""
    reference_difference: float
    """How far a result is from the network's answers at most, over the examples that a run had:
    share of the labels that are others, or largest difference of a probability."""
    result_difference: float
    """How far the results of two runs differ at most, likewise."""


class WorkloadMeasurement(CellValue):
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
    first_call_ms: float
    """Time of the first call, of one frame or patch."""
    peak_rss_mib: float
    """Highest memory of the process, without those that read for it."""
    others_cpu_share: float
    """Share of the machine's CPUs, 0-1, that worked for other processes during the runs
    and the comparison of examples."""
    energy_source: str
    """What counted the energy, or why nothing did."""
    max_abs_difference: float
    """Largest difference of a probability from the network's, over the examples, at any batch
    size."""
    label_agreement: float
    """Share of the pixels, or patches, of the examples with the network's class; the lowest one of
    all batch sizes."""
    compared_answers: int
    """How many pixels, or patches, that is a share of."""
    kinds: tuple[WorkloadRuns, ...]
    """The runs, of at least one batch size."""
    batch_failures: dict[int, str] = Field(default_factory=dict)
    """Why the engine failed at other batch sizes, by their number."""


class WorkloadCell(EngineCell):
    """One workload on one engine.

    It is valid where all its answers are finite, those to the examples are the network's within the
    limit, alone and within the results of all runs, and its results are the same in all of them.
    """

    size: WorkloadSize
    """How large it is."""
    readers: int
    """Processes that read patches in overlapped runs."""
    items: int
    """Frames or patches of the whole workload."""
    run_items: int
    """Of these, how many a run had; where they are fewer, whole runs are extrapolated."""
    source: str
    """What it works on: a file, or `drawn`."""
    parameters: int
    """Weights of the network."""
    measurement: WorkloadMeasurement | None
    """The figures; absent where the engine is unavailable."""

    @property
    def extrapolated(self) -> bool:
        """Whether the times of whole runs are extrapolated."""
        return self.run_items < self.items

"""Run thousands of stub slides through worker jobs of a SLURM, and say what many nodes would do.

    tests/integration/slurm/start.sh /tmp/slurm && . /tmp/slurm/env.sh
    python benchmarks/simulate_scale.py --slides 10000 --partition cpu --interface lo

Three parts. First one drawn slide through ``segment_slide`` and ``extract_slide`` in this process:
processor time, reads and bytes, with a warm file cache. Then stages of stubs, whose work sleeps for
``--work-ms`` and writes one small file, with worker jobs on the SLURM of this shell: a few, from
which the fixed cost follows; a fifth, from which the time of all is foretold; then all. Last a
table for 1 to 200 nodes for each storage of patches, computed from these figures and from the
assumptions that are printed above it.
"""

import argparse
import itertools
import math
import os
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lamella.cohort.table import Slide
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.fleet.run import SlideTask, run_stage
from lamella.fleet.settings import ClusterKind, FleetSettings
from lamella.logs import start_job_log
from lamella.patches.extract import ExtractJob, extract_slide
from lamella.patches.settings import PatchSettings
from lamella.slides.settings import DEFAULT_READING
from lamella.slurm.settings import SiteSettings
from lamella.stores.atomic import write_text
from lamella.stores.codec import Storage
from lamella.stores.stored import Stored
from lamella.tissue.segment import SegmentJob, segment_slide
from lamella.tissue.settings import TissueSettings

STAGES = 2
"""That a slide passes through: its tissue, its patches."""
SUBMISSIONS_S = 10
"""Most worker jobs that a stage submits in a second."""
NODES = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True)
class Used:
    """What a piece of work took: processor time, read calls, bytes read and written."""

    seconds: float
    reads: int
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True)
class Stub:
    """The work of one stub slide."""

    output: Path
    seconds: float


def sleep_and_write(stub: Stub) -> int:
    time.sleep(stub.seconds)
    used = resource.getrusage(resource.RUSAGE_SELF)
    node = os.environ["SLURMD_NODENAME"]
    cpu_s = used.ru_utime + used.ru_stime
    write_text(stub.output, f"{node} {os.getpid()} {cpu_s:.3f}")
    return 1


def stored(path: Path) -> Stored | None:
    return Stored("made", 1) if path.exists() else None


@dataclass(frozen=True)
class Staged:
    """A stage of stubs.

    Attributes:
        wall_s: From the first result to the last.
        start_s: From the call to the first result: jobs queue, workers start.
        own_cpu_s: Processor time of the stage's own process, scheduler included.
        worker_cpu_s: Processor time of all worker processes, from the end of their first stub.
    """

    slides: int
    wall_s: float
    start_s: float
    own_cpu_s: float
    worker_cpu_s: float


def counters() -> tuple[float, dict[str, int]]:
    lines = Path("/proc/self/io").read_text().splitlines()
    return time.process_time(), {key: int(value) for key, value in (x.split(": ") for x in lines)}


@dataclass(frozen=True)
class Drawn:
    """One drawn slide: how many patches and files it made, and what tissue and patches took."""

    patches: int
    files: int
    tissue: Used
    cut: Used


def measured(segment: SegmentJob, extract: ExtractJob) -> tuple[int, Used, Used]:
    """Return the number of patches, and what tissue and patches took."""
    marks = [counters()]
    segment_slide(segment)
    marks.append(counters())
    patches = extract_slide(extract)
    marks.append(counters())
    tissue, cut = (
        Used(
            after[0] - before[0],
            *(after[1][key] - before[1][key] for key in ("syscr", "rchar", "wchar")),
        )
        for before, after in itertools.pairwise(marks)
    )
    return patches, tissue, cut


def one_slide(folder: Path, edge_px: int, storage: Storage) -> Drawn:
    folder.mkdir()
    path = folder / "slide.svs"
    draw_slide(path, SlideSpec(width_um=edge_px / 4, height_um=edge_px / 4, seed=1))
    slide = Slide("slide", path, "slide", label="normal")
    mask, shard = folder / "masks/slide.png", folder / "patches/slide.h5"
    segment = SegmentJob(slide, TissueSettings(), mask, "made", DEFAULT_READING)
    extract = ExtractJob(
        slide, PatchSettings(mpp=0.25, storage=storage), mask, shard, "made", DEFAULT_READING
    )
    measured(segment, extract)  # the file cache is warm then, and all modules are loaded
    patches, tissue, cut = measured(segment, extract)
    made = [file for file in folder.rglob("*") if file.is_file() and file != path]
    return Drawn(patches, len(made), tissue, cut)


def stub_stage(
    folder: Path, slides: int, work_s: float, fleet: FleetSettings, site: SiteSettings
) -> Staged:
    output = folder / "slides"
    output.mkdir(parents=True)
    tasks = []
    for number in range(slides):
        path = output / f"{number}.txt"
        tasks.append(SlideTask(str(number), 1, path, "made", Stub(path, work_s)))
    started, before_s = time.time(), own_cpu_s()
    run_stage(
        "stub",
        sleep_and_write,
        tasks,
        manifest=folder / "manifest.tsv",
        stored=stored,
        settings=fleet,
        site=site,
    )
    times = sorted(path.stat().st_mtime for path in output.glob("*.txt"))
    return Staged(
        slides=slides,
        wall_s=times[-1] - times[0],
        start_s=times[0] - started,
        own_cpu_s=own_cpu_s() - before_s,
        worker_cpu_s=workers_cpu_s(output),
    )


def workers_cpu_s(output: Path) -> float:
    """Return the processor time of all workers; what they take to start is left out."""
    used: dict[tuple[str, str], list[float]] = {}
    for path in output.glob("*.txt"):
        node, pid, cpu_s = path.read_text().split()
        used.setdefault((node, pid), []).append(float(cpu_s))
    return sum(max(times) - min(times) for times in used.values())


def own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class PerStub:
    """Processor time of a stub: ``own_s`` in the one scheduler, ``worker_s`` in a worker."""

    own_s: float
    worker_s: float

    def foretold_s(self, slides: int, workers: int, work_s: float, cores: int) -> float:
        """Return how long a stage of stubs takes where all processes share the cores."""
        scheduler_s = slides * self.own_s
        workers_s = slides * (work_s + self.worker_s) / workers
        cores_s = slides * (self.own_s + self.worker_s) / cores
        return max(scheduler_s, workers_s, cores_s)


def per_stub(few: Staged, many: Staged) -> PerStub:
    """Return what each further stub costs: starting the cluster is in both stages."""
    own_s = (many.own_cpu_s - few.own_cpu_s) / (many.slides - few.slides)
    return PerStub(own_s, many.worker_cpu_s / many.slides)


@dataclass(frozen=True)
class Assumed:
    """What nothing here measures.

    Attributes:
        slides: In the cohort.
        patches: Of a mean slide.
        megapixels: Of a mean slide; the time to find its tissue is taken as linear in it.
        biggest: Size of the biggest slide, in mean slides.
        workers_per_node: Worker processes.
        workers_per_job: Of them, those in one SLURM job.
        node_mib_s: What the network of one node carries.
        storage_mib_s: What the shared storage reads and writes, for all nodes together.
        queue_min: How long the jobs of each stage wait before they start.
    """

    slides: int
    patches: int
    megapixels: float
    biggest: float
    workers_per_node: int
    workers_per_job: int
    node_mib_s: float
    storage_mib_s: float
    queue_min: float


@dataclass(frozen=True)
class Cost:
    """What a mean slide costs in both stages: the one scheduler, and one worker."""

    own_s: float
    work_s: float
    reads: float
    read_mib: float
    written_mib: float
    files: int
    start_s: float


def cost_of(drawn: Drawn, edge_px: int, assumed: Assumed, *, own_s: float, start_s: float) -> Cost:
    """Return what a mean slide costs, from what the drawn one did."""
    tissue, cut = drawn.tissue, drawn.cut
    area, share = assumed.megapixels / (edge_px**2 / 1e6), assumed.patches / drawn.patches
    return Cost(
        own_s=own_s,
        work_s=tissue.seconds * area + cut.seconds * share,
        reads=tissue.reads * area + cut.reads * share,
        read_mib=(tissue.read_bytes * area + cut.read_bytes * share) / 2**20,
        written_mib=(tissue.written_bytes * area + cut.written_bytes * share) / 2**20,
        files=drawn.files,
        start_s=start_s,
    )


def row(nodes: int, cost: Cost, assumed: Assumed) -> str:
    """Return a line of the table: wall time, and what falls upon SLURM, storage and scheduler."""
    workers = min(nodes * assumed.workers_per_node, assumed.slides)
    jobs = math.ceil(workers / assumed.workers_per_job)
    moved_mib = assumed.slides * (cost.read_mib + cost.written_mib)
    bounds = {
        "workers": assumed.slides * cost.work_s / workers,
        "scheduler": assumed.slides * cost.own_s,
        "storage": moved_mib / assumed.storage_mib_s,
        "network": moved_mib / (nodes * assumed.node_mib_s),
        # The biggest slide starts first, and is not done sooner by more workers.
        "biggest slide": assumed.biggest * cost.work_s,
    }
    bound = max(bounds, key=lambda name: bounds[name])
    work_s = bounds[bound]
    # As if nothing were done before the last job is submitted and starts.
    waits_s = STAGES * (60 * assumed.queue_min + jobs / SUBMISSIONS_S) + cost.start_s
    reads, read_mib, written_mib = (
        each * assumed.slides / work_s for each in (cost.reads, cost.read_mib, cost.written_mib)
    )
    return (
        f"| {nodes} | {workers} | {jobs} | {(waits_s + work_s) / 60:,.1f} | {waits_s / 60:,.1f} "
        f"| {bound} | {reads:,.0f} | {read_mib:,.0f} | {written_mib:,.0f} "
        f"| {bounds['scheduler'] / work_s:.2f} |"
    )


def print_table(cost: Cost, assumed: Assumed) -> None:
    print(f"assumed: {assumed}")
    print(f"a mean slide costs: {cost}; all slides make {assumed.slides * cost.files:,} files")
    columns = ("nodes", "workers", "jobs", "minutes", "of them waiting", "bound by")
    loads = ("reads/s", "MiB/s read", "MiB/s written", "Dask's scheduler")
    print("| " + " | ".join((*columns, *loads)) + " |")
    print("|---" * len((*columns, *loads)) + "|")
    for nodes in NODES:
        print(row(nodes, cost, assumed))


def say(stage: Staged) -> None:
    each_ms = 1000 / stage.slides
    print(
        f"{stage.slides} stubs: {stage.wall_s:.1f} s, first after {stage.start_s:.1f} s; "
        f"processor time: stage {stage.own_cpu_s:.2f} s "
        f"({stage.own_cpu_s * each_ms:.2f} ms a stub), workers {stage.worker_cpu_s:.2f} s "
        f"({stage.worker_cpu_s * each_ms:.2f} ms a stub)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--work-ms", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--workers-per-job", type=int, default=4)
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--interface")
    parser.add_argument("--edge-px", type=int, default=8000, help="of the drawn slide")
    parser.add_argument("--patches", type=int, default=5000, help="assumed, of a slide")
    parser.add_argument("--megapixels", type=float, default=2000.0, help="assumed, of a slide")
    parser.add_argument("--biggest", type=float, default=4.0, help="assumed, in mean slides")
    parser.add_argument("--workers-per-node", type=int, default=16, help="assumed")
    parser.add_argument("--node-mib-s", type=float, default=1000.0, help="assumed")
    parser.add_argument("--storage-mib-s", type=float, default=2000.0, help="assumed")
    parser.add_argument("--queue-min", type=float, default=5.0, help="assumed, of each stage")
    arguments = parser.parse_args()
    fleet = FleetSettings(
        cluster=ClusterKind.SLURM,
        max_workers=arguments.workers,
        workers_per_job=arguments.workers_per_job,
        worker_memory_mib=512,
    )
    site = SiteSettings(
        partition=arguments.partition,
        account=arguments.account,
        interface=arguments.interface,
        walltime_min=30,
    )
    work_s, cores = arguments.work_ms / 1000, len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        folder = Path(name)
        start_job_log(folder / "log")
        drawn = {
            storage: one_slide(folder / storage, arguments.edge_px, storage)
            for storage in (Storage.PIXELS, Storage.JPEG)
        }
        few, fifth, all_ = (
            stub_stage(folder / str(slides), slides, work_s, fleet, site)
            for slides in (arguments.workers, arguments.slides // 5, arguments.slides)
        )
    print(f"{cores} cores, {arguments.workers} workers, stubs of {arguments.work_ms:g} ms")
    for stage in (few, fifth, all_):
        say(stage)
    foretold = per_stub(few, fifth).foretold_s(arguments.slides, arguments.workers, work_s, cores)
    print(
        f"foretold: {foretold:.1f} s were nothing else at work and the disk no matter; "
        f"{5 * fifth.wall_s:.1f} s at the rate of the fifth; took {all_.wall_s:.1f} s "
        f"(load of this machine {os.getloadavg()[1]:.1f})"
    )
    assumed = Assumed(
        slides=arguments.slides,
        patches=arguments.patches,
        megapixels=arguments.megapixels,
        biggest=arguments.biggest,
        workers_per_node=arguments.workers_per_node,
        workers_per_job=arguments.workers_per_job,
        node_mib_s=arguments.node_mib_s,
        storage_mib_s=arguments.storage_mib_s,
        queue_min=arguments.queue_min,
    )
    for storage, slide in drawn.items():
        print(
            f"\nstorage {storage}: a drawn slide, {arguments.edge_px} px, {slide.patches} patches"
        )
        print(f"tissue {slide.tissue}\npatches {slide.cut}")
        cost = cost_of(
            slide,
            arguments.edge_px,
            assumed,
            own_s=STAGES * per_stub(few, all_).own_s,
            start_s=STAGES * statistics.median(stage.start_s for stage in (few, fifth, all_)),
        )
        print_table(cost, assumed)


if __name__ == "__main__":
    main()

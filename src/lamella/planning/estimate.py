"""What each stage will need: jobs, patches, disk, hours of cores, nodes and GPUs."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lamella.benchmark.settings import BenchmarkCase
from lamella.cohort.settings import Split, SplitMethod, SplitSettings
from lamella.config import Config
from lamella.fleet.settings import (
    LIFETIME_SHARE,
    ClusterKind,
    FleetSettings,
    WorkerJobShape,
)
from lamella.planning.cohort_size import MASK_MIB, CohortSize, patch_bytes
from lamella.planning.rates import (
    FIXED_H,
    Rate,
    extract_rate,
    fixed_rates,
    predict_rate,
    segment_rate,
    train_rate,
)
from lamella.settings import Device
from lamella.slurm.settings import SiteSettings

GIB = 2.0**30

_FIXED_GIB = 0.1
"""A trained or exported network, or the pictures of an explanation."""


@dataclass(frozen=True)
class StageEstimate:
    """What a stage will need.

    Attributes:
        rule: The rule.
        jobs: Number of its jobs; of a stage over slides whose workers are SLURM jobs, of these.
        patches: Patches that it treats, over all jobs; 0 where it does not go by them.
        disk_gib: What it leaves on the disk.
        core_hours: Hours of cores; ``None``: not known.
        node_hours: Hours of nodes, whether its jobs have them for themselves or not.
        gpu_hours: Hours of GPUs.
        basis: Where the rate is from.
        workers: The SLURM jobs of its workers, where it has such.
    """

    rule: str
    jobs: int
    patches: int
    disk_gib: float
    core_hours: float | None
    node_hours: float | None
    gpu_hours: float | None
    basis: str
    workers: WorkerJobShape | None = None


def estimate(config: Config, size: CohortSize, root: Path) -> list[StageEstimate]:
    """Return what the stages will need, in running order.

    Args:
        config: All settings.
        size: How much there is of the cohort.
        root: The results folder, for rates that were measured in it.
    """
    runs = config.training.selected_runs
    fixed = fixed_rates(root)
    return [
        _segment(config, size, root),
        _extract(config, size, root),
        _fixed("join_cohort", 1, 1, fixed, disk_gib=size.patches * 100 / GIB),
        *(_train(config, size, root, run) for run in runs),
        _fixed("export_model", len(runs), 1, fixed),
        _fixed("check_parity", len(runs), config.parity.threads, fixed),
        *(_predict(config, size, root, run) for run in runs),
        _fixed("explain_patches", len(runs), 1, fixed),
        *_benchmark(config, fixed),
        _fixed("build_report", 1, 1, fixed),
    ]


def estimate_lines(stages: Sequence[StageEstimate], size: CohortSize) -> Iterator[str]:
    """Yield a table, its sums, and what it rests on."""
    width = max(len(stage.rule) for stage in stages)
    head = f"{'jobs':>5} {'patches':>12} {'disk GiB':>9} {'core h':>9} {'node h':>8} {'GPU h':>8}"
    yield f"{'':{width}} {head}  rate from"
    for stage in stages:
        patches = f"{stage.patches:,}" if stage.patches else "–"
        yield f"{stage.rule:{width}} {stage.jobs:5} {patches:>12}{_cells_of(stage)}"
    yield f"{'all':{width}} {sum(stage.jobs for stage in stages):5} {'':>12}" + _sums(stages)
    yield (
        f"{size.slides:,} slides of {size.gigapixels:.2f} gigapixels on average,"
        f" {size.patches:,} patches expected, {size.most_patches:,} at most"
    )
    yield from _worker_lines(stages)
    yield from size.notes
    if any(stage.basis == "default" for stage in stages):
        yield (
            "default: measured on two cores of an AMD EPYC without a GPU, ResNet-50 and drawn"
            " slides (docs/performance.md); your own rates take their place once a stage has run"
        )
    if any(stage.core_hours is None for stage in stages):
        yield (
            "?: nothing was measured on a GPU yet; train one seed, and predict, on a few slides,"
            " then plan again"
        )
    yield f"jobs that do not grow with the slides are taken for {60 * FIXED_H:.0f} min each"
    yield "retries, waiting in the queue, reading from a slow disk: not included"


def _segment(config: Config, size: CohortSize, root: Path) -> StageEstimate:
    rate = segment_rate(root, size.gigapixels)
    core_hours = rate.seconds * size.slides / 3600
    disk_gib = size.slides * MASK_MIB / 1024
    stage = StageEstimate(
        "segment_tissue", 1, 0, disk_gib, core_hours, core_hours, 0.0, rate.source
    )
    return _by_workers(stage, core_hours, size, config.fleet, config.site)


def _extract(config: Config, size: CohortSize, root: Path) -> StageEstimate:
    settings = config.patches
    rate = extract_rate(root, settings.storage, settings.size_px)
    core_hours = rate.seconds * size.patches / 3600
    disk_gib = size.patches * patch_bytes(settings) / GIB
    stage = StageEstimate(
        "extract_patches", 1, size.patches, disk_gib, core_hours, core_hours, 0.0, rate.source
    )
    return _by_workers(stage, core_hours, size, config.fleet, config.site)


def _predict(config: Config, size: CohortSize, root: Path, run: str) -> StageEstimate:
    settings = config.predict
    rate = predict_rate(root, run, settings.engine, config.patches.size_px)
    disk_gib = size.patches * (16 + 4 * len(config.patches.classes)) / GIB
    on_gpu = settings.device is not Device.CPU
    hours = rate.seconds * size.patches / 3600
    stage = StageEstimate(
        f"predict_slides {run}", 1, size.patches, disk_gib, hours, hours, 0.0, rate.source
    )
    stage = _by_workers(stage, hours, size, config.fleet.on(settings.device), config.site)
    if on_gpu:
        # One job with one GPU.
        stage = replace(stage, gpu_hours=stage.node_hours)
    return _unknown(stage) if on_gpu and rate.source == "default" else stage


def _by_workers(
    stage: StageEstimate,
    core_hours: float,
    size: CohortSize,
    fleet: FleetSettings,
    site: SiteSettings,
) -> StageEstimate:
    """Return a stage spread over workers that are all busy: on one node, or in SLURM jobs."""
    if fleet.cluster is ClusterKind.LOCAL:
        return replace(stage, node_hours=core_hours / min(fleet.max_workers, size.slides))
    workers = fleet.jobs_for(size.slides)
    clock_hours = core_hours / workers.workers
    # A job makes room for a new one before its time limit.
    times = math.ceil(clock_hours * 60 / (site.walltime_min * LIFETIME_SHARE))
    return replace(
        stage,
        jobs=workers.jobs * max(1, times),
        node_hours=clock_hours * workers.jobs,
        workers=workers,
    )


def _worker_lines(stages: Sequence[StageEstimate]) -> Iterator[str]:
    """Yield what is submitted where jobs go to SLURM."""
    by_workers = [stage for stage in stages if stage.workers is not None]
    jobs = sum(stage.jobs for stage in stages)
    of_workers = sum(stage.jobs for stage in by_workers)
    beside = (
        f", {of_workers} of them by stages over slides, which run beside it" if by_workers else ""
    )
    yield f"with profiles/slurm Snakemake has {jobs} jobs submitted{beside}"
    for stage in by_workers:
        assert stage.workers is not None
        assert stage.node_hours is not None
        shape = stage.workers
        yield (
            f"{stage.rule}: {shape.jobs} jobs at a time, each of {shape.cores} workers (one core"
            f" each) and {shape.memory_mib:,} MiB, for {stage.node_hours / shape.jobs:,.2f} h"
        )


def _train(config: Config, size: CohortSize, root: Path, name: str) -> StageEstimate:
    training = config.training
    run, seeds = training.runs[name], len(training.seeds)
    samples = round(size.patches * train_share(config.split)) * run.epochs * seeds
    rate = train_rate(root, name, run.model, config.patches.size_px)
    hours = rate.seconds * samples / training.processes / 3600
    on_gpu = training.device is not Device.CPU
    stage = StageEstimate(
        rule=f"train_model {name}",
        jobs=seeds,
        patches=samples,
        disk_gib=seeds * _FIXED_GIB,
        core_hours=hours * run.threads * training.processes,
        node_hours=hours * training.nodes,
        gpu_hours=hours * training.processes if on_gpu else 0.0,
        basis=rate.source,
    )
    return _unknown(stage) if on_gpu and rate.source == "default" else stage


def train_share(split: SplitSettings) -> float:
    """Return the share of the patients that are trained on."""
    if split.method is SplitMethod.SHARES:
        return split.share(Split.TRAIN)
    of_others = split.train / (split.train + split.validation)
    # Of centres it is not known how large they are: as if none were left out.
    tested = 1 / split.folds if split.method is SplitMethod.K_FOLD else 0.0
    return (1 - tested) * of_others


def _fixed(
    rule: str, jobs: int, cores: int, rates: Mapping[str, Rate], *, disk_gib: float | None = None
) -> StageEstimate:
    rate = rates.get(rule, Rate(3600 * FIXED_H, "guess"))
    hours = rate.seconds * jobs / 3600
    disk_gib = jobs * _FIXED_GIB if disk_gib is None else disk_gib
    return StageEstimate(rule, jobs, 0, disk_gib, hours * cores, hours, 0.0, rate.source)


def _unknown(stage: StageEstimate) -> StageEstimate:
    return StageEstimate(
        stage.rule, stage.jobs, stage.patches, stage.disk_gib, None, None, None, "none on a GPU"
    )


def _benchmark(config: Config, fixed: Mapping[str, Rate]) -> Iterator[StageEstimate]:
    """Yield the jobs of the patch classifier, then those of the workloads where there are any."""
    settings = config.benchmark
    cells = len(settings.engines) * len(settings.precisions)
    workloads = sum(case is not BenchmarkCase.PATCHES for case in settings.cases)
    if BenchmarkCase.PATCHES in settings.cases:
        yield _fixed("benchmark_engine", cells, settings.threads, fixed)
    if workloads:
        yield _fixed("prepare_workload", workloads, 1, fixed)
        yield _fixed("export_workload", workloads, 1, fixed)
        yield _fixed("time_workload", workloads * cells, settings.threads, fixed)


def _cells_of(stage: StageEstimate) -> str:
    hours = f"{_hours(stage.core_hours, 9)} {_hours(stage.node_hours, 8)}"
    return f" {stage.disk_gib:9.2f} {hours} {_hours(stage.gpu_hours, 8)}  {stage.basis}"


def _sums(stages: Sequence[StageEstimate]) -> str:
    disk_gib = sum(stage.disk_gib for stage in stages)
    cores = _sum(stage.core_hours for stage in stages)
    nodes = _sum(stage.node_hours for stage in stages)
    gpus = _sum(stage.gpu_hours for stage in stages)
    return f" {disk_gib:9.2f} {_hours(cores, 9)} {_hours(nodes, 8)} {_hours(gpus, 8)}"


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum; ``None`` where a part of it is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _hours(value: float | None, width: int) -> str:
    return f"{'?' if value is None else format(value, ',.2f'):>{width}}"

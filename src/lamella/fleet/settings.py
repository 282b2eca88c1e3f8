"""How the stages that treat every slide alike spread over processes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pydantic import Field

from lamella.settings import Device, Settings

JOB_OVERHEAD_MIB = 512
"""Memory of a job of workers beside that of its workers, in MiB."""

LIFETIME_SHARE = 0.8
"""Share of a job's time after which its workers take no new slide; the rest is for the last one."""


@dataclass(frozen=True)
class WorkerJobShape:
    """The SLURM jobs that a stage's workers run in.

    Attributes:
        jobs: How many there are at a time.
        cores: Cores of each, and workers in each.
        worker_memory_mib: Memory of a worker in MiB.
    """

    jobs: int
    cores: int
    worker_memory_mib: int

    @property
    def workers(self) -> int:
        """Number of workers at a time."""
        return self.jobs * self.cores

    @property
    def workers_mib(self) -> int:
        """Memory of the workers of one job in MiB."""
        return self.cores * self.worker_memory_mib

    @property
    def memory_mib(self) -> int:
        """Memory of one job in MiB."""
        return self.workers_mib + JOB_OVERHEAD_MIB


class ClusterKind(StrEnum):
    """Where the workers run."""

    LOCAL = "local"
    SLURM = "slurm"


class FleetSettings(Settings):
    """How many workers there are and what they may use."""

    cluster: ClusterKind = ClusterKind.LOCAL
    """Where the workers run; `local`: processes on the node of the stage's own job; `slurm`: in
    SLURM jobs of their own, on as many nodes as SLURM gives, as section `site` describes them. In
    a run whose other jobs stay on this machine (`profiles/local`) the workers do, too, unless the
    command line says otherwise: `--config 'fleet={cluster: slurm}'`."""

    max_workers: int = Field(default=16, ge=1)
    """Most worker processes at a time; never more than slides, nor with `local` than the job's
    cores."""

    workers_per_job: int = Field(default=4, ge=1)
    """With `slurm`: worker processes of one SLURM job, a core each; the job is on one node."""

    queue_limit_min: int = Field(default=1440, ge=1)
    """With `slurm`: minutes without any worker, while all worker jobs wait in the queue, after
    which a stage gives up."""

    worker_memory_mib: int = Field(default=2048, ge=256)
    """Memory of one worker in MiB; one that exceeds it is restarted and its slide tried again."""

    attempts: int = Field(default=3, ge=1)
    """How often a slide is tried whose worker was killed; then as often again, alone."""

    read_limit_s: int = Field(default=60, ge=1)
    """Seconds until the reading of a finished file, a matter of milliseconds, is given up; of
    processor time: the file is damaged and made anew; of waiting: its file system is away and the
    run stops."""

    stage_slides: bool = False
    """Whether slides whose patches are cut are copied to the node's own disk first
    (`site.scratch`, else `$TMPDIR`), where a shared file system is slow at reading tile by tile."""

    stage_gib: float = Field(default=20.0, gt=0.0)
    """Larger slides, in GiB, are not copied; each worker keeps one copy at a time. Slides for which
    the disk has no room, and formats of several files, are read where they are."""

    max_failed_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of quarantined slides above which the run fails at its very end; 0 is strict."""

    @property
    def cores(self) -> int:
        """How many cores a stage's own job shall have."""
        return 1 if self.cluster is ClusterKind.SLURM else self.max_workers

    @property
    def staged_bytes(self) -> int:
        """Size of the largest slide that is copied to the node; 0: none is."""
        return int(self.stage_gib * 2**30) if self.stage_slides else 0

    def jobs_for(self, slides: int) -> WorkerJobShape:
        """Return the SLURM jobs of the workers of a stage, all of one size."""
        most = max(1, min(self.max_workers, slides))
        cores = min(self.workers_per_job, most)
        return WorkerJobShape(most // cores, cores, self.worker_memory_mib)

    def workers_that_fit(self, *, cores: int, memory_mib: int) -> int:
        """Return how many workers one SLURM job may have on a node, at least 1."""
        most = min(cores, (memory_mib - JOB_OVERHEAD_MIB) // self.worker_memory_mib)
        return max(1, min(self.workers_per_job, most))

    def on(self, device: Device) -> Self:
        """Return the settings for work on a device: workers on a GPU stay where the GPU is."""
        if device is Device.CPU:
            return self
        return self.model_copy(update={"cluster": ClusterKind.LOCAL})

    def within(self, cores: int) -> Self:
        """Return the settings for a job that was given this many cores.

        Workers that are SLURM jobs have cores of their own.
        """
        if self.cluster is ClusterKind.SLURM:
            return self
        return self.model_copy(update={"max_workers": max(1, min(self.max_workers, cores))})


DEFAULT_FLEET = FleetSettings()

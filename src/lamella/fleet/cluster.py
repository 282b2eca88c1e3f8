"""The one module that talks to Dask about workers."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dask
from distributed import Client, KilledWorker, LocalCluster
from distributed.core import Status

from lamella.errors import WorkerLostError
from lamella.fleet.lost_workers import was_out_of_memory
from lamella.fleet.scratch import SCRATCH_VARIABLE, site_scratch
from lamella.fleet.settings import ClusterKind, FleetSettings
from lamella.slurm.settings import SiteSettings

# Dask's own report of a failed task is silenced: the manifest and our log tell it once.
_DASK = {
    "logging.distributed": "critical",
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.daemon": False,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.OPENBLAS_NUM_THREADS": 1,
    "distributed.nanny.pre-spawn-environ.MKL_NUM_THREADS": 1,
}
# After 15 s Dask would give up a killed worker that is being restarted, and start no other. On a
# busy machine its imports alone take longer; whether it still may come back, LocalCrew looks.
_DASK_HERE = {"distributed.deploy.lost-worker-timeout": "1 day"}

logger = logging.getLogger(__name__)


@dataclass
class Crew:
    """The workers of a stage.

    Attributes:
        client: Gives them work.
        count: How many there are at most.
    """

    client: Client
    count: int

    def want(self, slides: int) -> None:
        """Say how many slides are left; workers that nobody needs any more may go."""

    def check(self) -> None:
        """Raise when there will be no workers."""

    def was_out_of_memory(self, lost: KilledWorker) -> bool:
        """Return whether a worker was killed for its memory; not where nobody knows."""
        return was_out_of_memory(self.client, lost)


class LocalCrew(Crew):
    """Workers that are processes of this machine, each with a nanny that restarts it."""

    def __init__(self, client: Client, count: int, cluster: LocalCluster, stage: str) -> None:
        super().__init__(client, count)
        self._cluster = cluster
        self._stage = stage

    def check(self) -> None:
        """See that a worker is there, or being restarted.

        Raises:
            WorkerLostError: every nanny has given up.
        """
        nannies = self._cluster.workers.values()
        if all(nanny.status in (Status.closed, Status.failed) for nanny in nannies):
            raise WorkerLostError(
                f"no worker process is left: all {self.count} ended and could not be started anew",
                self._stage,
                "Look for free memory, free disk space and the limit of processes (`ulimit -u`), "
                "or lower `fleet.max_workers`, then run again; finished slides are kept",
            )


@contextmanager
def workers(
    stage: str, manifest: Path, settings: FleetSettings, site: SiteSettings, most: int
) -> Iterator[Crew]:
    """Yield running workers; stop them afterwards, whatever happens.

    Args:
        stage: Whose workers they are, for names and logs.
        manifest: Where its results are listed; tells stages of one name apart.
        settings: Where the workers run and what they may use.
        site: The cluster on which they run, where they are SLURM jobs.
        most: More workers than this would have nothing to do.

    Raises:
        SlurmError: SLURM gives none.
    """
    config = {**_DASK, "distributed.scheduler.allowed-failures": settings.attempts - 1}
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(config):
        if settings.cluster is ClusterKind.LOCAL:
            with _local_workers(stage, settings, site, most) as crew:
                yield crew
        else:
            # Only here: it needs dask-jobqueue, and the other way round this module.
            from lamella.fleet.slurm_cluster import slurm_workers

            with slurm_workers(stage, manifest, settings, site, most) as crew:
                yield crew


@contextmanager
def _local_workers(
    stage: str, settings: FleetSettings, site: SiteSettings, most: int
) -> Iterator[Crew]:
    count = max(1, min(settings.max_workers, most))
    folder = site_scratch(site) if settings.stage_slides else None
    with (
        dask.config.set(_DASK_HERE),
        tempfile.TemporaryDirectory(prefix="lamella-fleet-", dir=folder) as scratch,
        _local_cluster(stage, count, settings.worker_memory_mib, scratch) as cluster,
        Client(cluster) as client,
    ):
        yield LocalCrew(client, count, cluster, stage)


@contextmanager
def _local_cluster(stage: str, count: int, memory_mib: int, scratch: str) -> Iterator[LocalCluster]:
    """Yield running processes; whatever they have done is done, also where one is slow to end."""
    cluster = LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        memory_limit=f"{memory_mib}MiB",
        host="127.0.0.1",
        # Port 0: any free one. Without an address Dask takes 8787 and warns where it is taken.
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address=None,
        local_directory=scratch,
        env={SCRATCH_VARIABLE: scratch},
        silence_logs=logging.CRITICAL,
    )
    try:
        yield cluster
    finally:
        try:
            cluster.close()
        except TimeoutError:
            logger.warning("%s: a worker process was killed and has not ended after 5 s", stage)

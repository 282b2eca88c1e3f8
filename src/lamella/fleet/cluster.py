"""The one module that talks to Dask about workers."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from lamella.fleet.settings import FleetSettings

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


@contextmanager
def workers(settings: FleetSettings, most: int) -> Iterator[tuple[Client, int]]:
    """Yield a client of a running cluster and its number of workers; stop it afterwards.

    Args:
        settings: Where the workers run and what they may use.
        most: More workers than this would have nothing to do.
    """
    count = max(1, min(settings.max_workers, most))
    config = {**_DASK, "distributed.scheduler.allowed-failures": settings.attempts - 1}
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        dask.config.set(config),
        tempfile.TemporaryDirectory(prefix="lamella-fleet-") as scratch,
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=f"{settings.worker_memory_mib}MiB",
            host="127.0.0.1",
            # Port 0: any free one. Without an address Dask takes 8787 and warns where it is taken.
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address=None,
            local_directory=scratch,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client, count

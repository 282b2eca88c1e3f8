"""Why a worker was killed, as far as Dask or SLURM know."""

import re
import time
from pathlib import Path

from distributed import Client, KilledWorker

from lamella.errors import SlurmError
from lamella.slurm.commands import ask
from lamella.slurm.reasons import Cause, cause_of, tail_of

_RESTARTED = "worker-restart-memory"
"""What Dask calls the event of a worker that it has ended for its memory."""

_SETTLING_S = 20.0


def told_by_dask(client: Client, lost: KilledWorker) -> str:
    """Return what Dask says of the end of a worker; nothing where it was not Dask that ended it."""
    for _, event in client.get_events(_RESTARTED):
        if event["worker"] == lost.last_worker.address:
            used, limit = event["rss"] / 2**20, lost.last_worker.memory_limit / 2**20
            return f"at last out of memory, with {used:.0f} of {limit:.0f} MiB"
    return ""


def told_by_slurm(logs: Path, lost: KilledWorker) -> str:
    """Return what SLURM says of the end of a worker's job, or else where to look.

    Args:
        logs: The folder with the logs of the stage's worker jobs.
        lost: Names the worker, whose folder on its node is that of its job.
    """
    number = re.findall(r"/lamella-(\d+)(?=/)", lost.last_worker.local_directory)[-1]
    log = logs / f"{number}.log"
    until = time.monotonic() + _SETTLING_S
    # The worker is gone before its job has ended, and may be before the job's log says why.
    while not _was_out_of_memory(number, log):
        if time.monotonic() >= until:
            return f"log: {log}"
        time.sleep(0.5)
    return f"at last SLURM job {number} was out of memory"


def _was_out_of_memory(number: str, log: Path) -> bool:
    said = tail_of(log) if log.exists() else ""
    return cause_of(_state(number), said) is Cause.OUT_OF_MEMORY


def _state(number: str) -> str:
    """Return how a job ended, or stands; nothing where SLURM has forgotten it."""
    try:
        return ask("squeue", "-h", "--states=all", f"--jobs={number}", "--format=%T").strip()
    except SlurmError:
        return ""

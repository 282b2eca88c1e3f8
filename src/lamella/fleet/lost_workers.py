"""Whether a worker was killed for its memory, as far as Dask or SLURM know."""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from distributed import Client, KilledWorker

from lamella.errors import SlurmError
from lamella.slurm.commands import ask
from lamella.slurm.reasons import Cause, cause_of, tail_of

logger = logging.getLogger(__name__)

_RESTARTED = "worker-restart-memory"
"""What Dask calls the event of a worker that it has ended for its memory."""

# A worker is gone before Dask, or the log of its job, says why.
_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0)
_PAUSES_OF_DASK = 3


def was_out_of_memory(client: Client, lost: KilledWorker) -> bool:
    """Return whether Dask has ended a worker for its memory."""
    return any(_ended_by_dask(client, lost) for _ in _looks(_PAUSES_S[:_PAUSES_OF_DASK]))


def was_job_out_of_memory(client: Client, lost: KilledWorker, logs: Path) -> bool:
    """Return whether Dask has ended a worker for its memory, or SLURM the worker's job.

    Args:
        client: Of the workers.
        lost: Names the worker, whose folder on its node is that of its job.
        logs: The folder with the logs of the stage's worker jobs.
    """
    number = (re.findall(r"/lamella-(\d+)(?=/)", lost.last_worker.local_directory) or [""])[-1]
    log = logs / f"{number}.log"
    for pause_s in _looks(_PAUSES_S):
        state = _state(number)
        said = tail_of(log) if log.exists() else ""
        if _ended_by_dask(client, lost) or cause_of(state, said) is Cause.OUT_OF_MEMORY:
            return True
        if state == "RUNNING" and pause_s >= _PAUSES_S[_PAUSES_OF_DASK - 1]:
            # It has another worker already: SLURM has not ended it.
            break
    logger.warning("%s does not say why its worker was lost", log)
    return False


def _looks(pauses_s: tuple[float, ...]) -> Iterator[float]:
    for pause_s in pauses_s:
        time.sleep(pause_s)
        yield pause_s


def _ended_by_dask(client: Client, lost: KilledWorker) -> bool:
    for _, event in client.get_events(_RESTARTED):
        if event["worker"] == lost.last_worker.address:
            used, limit = event["rss"] / 2**20, lost.last_worker.memory_limit / 2**20
            logger.warning("a worker was out of memory, with %.0f of %.0f MiB", used, limit)
            return True
    return False


def _state(number: str) -> str:
    """Return how a job ended, or stands; nothing where SLURM has forgotten it."""
    try:
        return ask("squeue", "-h", "--states=all", f"--jobs={number}", "--format=%T").strip()
    except SlurmError:
        return ""

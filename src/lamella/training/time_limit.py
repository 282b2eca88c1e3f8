"""A training stops before the time limit of its SLURM job, and has the job started again.

SLURM's own signal (``sbatch --signal``) does not serve a training that Snakemake has started: with
``B:`` it ends the batch shell, without it, on one node, the Snakemake between SLURM and training.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lamella.errors import SlurmError
from lamella.slurm.job import can_be_asked, in_job, requeue_this_job, this_job
from lamella.training.stopping import EXIT_STOPPED

_logger = logging.getLogger(__name__)
_POLL_S = 0.5
_ASK_AGAIN_S = 60.0
_LOOK_AGAIN_S = 300.0


@contextmanager
def kept_within_time_limit(margin_s: float, *, requeue: bool) -> Iterator[None]:
    """Have a training ask itself to stop in time, and its job queued again when it has stopped.

    Outside a SLURM job nothing is different. Where SLURM cannot be asked, a warning says so.

    Args:
        margin_s: Seconds before the time limit; at most half of the time that is left now.
        requeue: Whether the job is there for this training alone, so that it may be started again.
    """
    over = threading.Event()
    if in_job() and not can_be_asked():
        _logger.warning("there is no scontrol here: the time limit of the SLURM job is not known")
    elif in_job():
        watch = threading.Thread(target=_watch, args=(margin_s, over), name="time", daemon=True)
        watch.start()
    try:
        yield
    except SystemExit as end:
        if end.code == EXIT_STOPPED and requeue:
            _requeue()
        raise
    finally:
        over.set()


def _requeue() -> None:
    # SLURM ends all processes of the job while it answers, and this one has to tell what it did.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        requeue_this_job()
    except SlurmError as error:
        # The code by which the training ends says enough: it can go on.
        _logger.warning("the job is not queued again: %s", error)
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(margin_s: float, over: threading.Event) -> None:
    """Send this process SIGUSR1 when the time has come."""
    ends_s = _end_of_job(over)
    if ends_s is None:
        return
    margin_s = min(margin_s, (ends_s - time.time()) / 2)
    while not over.wait(min(max(0.0, ends_s - margin_s - time.time()), _LOOK_AGAIN_S)):
        # The limit may have been changed since.
        ends_s = _end_of_job(over)
        if ends_s is None:
            return
        if time.time() >= ends_s - margin_s:
            _logger.info("the time limit of the SLURM job is %.0f s away", ends_s - time.time())
            _ask_to_stop(over)
            return


def _end_of_job(over: threading.Event) -> float | None:
    """Return when the job ends; ``None`` when it has no limit, or the training is over."""
    while not over.is_set():
        try:
            return this_job().ends_s
        except SlurmError as error:
            _logger.warning("the time limit is not known: %s", error)
            over.wait(_ASK_AGAIN_S)
    return None


def _ask_to_stop(over: threading.Event) -> None:
    # While nobody listens, at the beginning and at the end, the signal would end the process.
    while not callable(signal.getsignal(signal.SIGUSR1)):
        if over.wait(_POLL_S):
            return
    os.kill(os.getpid(), signal.SIGUSR1)

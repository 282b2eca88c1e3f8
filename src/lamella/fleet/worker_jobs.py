"""The one module that talks to dask-jobqueue: jobs that are submitted, renewed and ended."""

import asyncio
import itertools
import logging
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dask
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.scheduler import WorkerState

from lamella.errors import LamellaError, SlurmError
from lamella.fleet.left_jobs import LeftJobs
from lamella.slurm.commands import ask
from lamella.slurm.job import ENDING
from lamella.slurm.submit import own_sbatch

# Its import copies its defaults into the folder of the user's own Dask settings, where that is not
# a file already; and after it Ctrl-C would end this process as if all were well.
_folder, dask.config.PATH = dask.config.PATH, __file__
_interrupt = signal.getsignal(signal.SIGINT)
from dask_jobqueue.slurm import SLURMCluster, SLURMJob  # noqa: E402

dask.config.PATH = _folder
signal.signal(signal.SIGINT, _interrupt)

logger = logging.getLogger(__name__)

RENEW_S = 1.0
"""Seconds between two looks at how many jobs there are and should be."""

_LOOK_S = 10.0
_SOON_S = 2.0
# Jobs in a second: every site has others, too.
_MOST_SUBMITTED = 10
_LONGEST_PAUSE_S = 300.0
_MOST_BARREN = 3
# What sbatch says where trying again later may help.
_PASSING = ("submit limit", "temporarily", "contact", "timed out", "try again", "connection")
# It says the same of all limits, but names the one: here those that a job is above by itself.
_TOO_LARGE = re.compile(r"\b(?:QOS|Assoc)(?!\w*Submit)\w+")


class _WorkerJob(SLURMJob):
    """A job of workers whose submission may be refused."""

    async def _submit_job(self, script_filename: str) -> str:
        # The one that waits would keep Dask from all else: looking after jobs, and ending.
        command = [own_sbatch(), script_filename]
        try:
            answer: str = await self._call(command)  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError) as error:
            # Dask makes sure at its end that every job has ended.
            self.status = Status.failed
            raise _refusal(str(error)) from error
        return answer

    async def close(self) -> None:
        await super().close()  # type: ignore[no-untyped-call]
        self.status = Status.closed


def _refusal(said: str) -> SlurmError:
    lines = (said.partition("stderr:\n")[2] or said).split("\n")
    reason = "; ".join(line.removeprefix("sbatch: error: ") for line in lines if line)
    return SlurmError(
        f"SLURM refuses a worker job ({reason})",
        "sbatch",
        "Correct section `site` of the settings (account, partition, qos, walltime_min), or ask "
        "for less: `fleet.workers_per_job`, `fleet.worker_memory_mib`",
    )


def may_pass(said: str) -> bool:
    """Return whether SLURM may take the same job later, by what it says of a refusal."""
    return any(text in said.lower() for text in _PASSING) and not _TOO_LARGE.search(said)


class Keeper(Adaptive):
    """Dask's hook for what shall be done every second."""

    async def adapt(self) -> None:
        """Renew the jobs; Dask calls it."""
        cluster: Any = self.cluster
        await cluster.renew()


class WorkerJobs(SLURMCluster):
    """As many jobs as there is work for; one that has ended is replaced.

    What an earlier stage with the same results has left, which was killed, ends first.

    Dask-jobqueue replaces a lost job neither when it holds several workers, nor when it was
    cancelled while it waited, nor when its submission was refused. SLURM knows of all of them.

    Attributes:
        wanted: How many workers there shall be.
        fault: Why there will be none.
        waiting: Reasons of jobs that wait in the queue, as SLURM says them.
    """

    job_cls = _WorkerJob

    def __init__(self, *, workers: int, processes: int, logs: Path, **options: Any) -> None:
        self.wanted = workers
        self.fault: LamellaError | None = None
        self.waiting: Counter[str] = Counter()
        self._processes = processes
        self._logs = logs
        self._numbers = itertools.count()
        self._reported: set[str] = set()
        self._connected = 0
        self._barren = 0
        self._next_look = self._next_try = 0.0
        self._pause_s = _LOOK_S
        self._left: LeftJobs | None = LeftJobs(options["job_name"], Path.cwd())
        super().__init__(processes=processes, cores=processes, name="job", **options)

    @property
    def connected(self) -> int:
        """Number of workers that have reported and are still there."""
        return len(self._workers())

    def _workers(self) -> list[WorkerState]:
        return list(self._open_scheduler.workers.values())

    @property
    def _open_scheduler(self) -> Any:
        assert self.scheduler is not None
        return self.scheduler

    def _new_worker_name(self, worker_number: int) -> str:
        # A name serves once: Dask may not have noticed yet that its last bearer is gone.
        return f"{self._name}-{next(self._numbers)}"

    def _job_of(self, worker: WorkerState) -> str:
        name = str(worker.name)
        return name.rpartition("-")[0] if self._processes > 1 else name

    async def renew(self) -> None:
        """Forget jobs that have ended, submit those that are missing, end those not needed."""
        try:
            if self._left is not None and not await self._is_rid_of(self._left):
                return
            await self._look()
            await self._set_number()
            await self._correct_state()  # type: ignore[no-untyped-call]
        except SlurmError as error:
            self._refused(error)

    async def _is_rid_of(self, left: LeftJobs) -> bool:
        if time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + _SOON_S
        if not await asyncio.to_thread(left.have_ended):
            return False
        self._left, self._next_look = None, 0.0
        return True

    async def _look(self) -> None:
        """Ask SLURM for the jobs' states, at times and when a worker has gone."""
        before, self._connected = self._connected, self.connected
        living = {self._job_of(worker) for worker in self._workers()}
        self._reported |= living
        if self._reported & self.workers.keys():
            self._barren = 0
        now = time.monotonic()
        if self._connected < before:
            # Its job may still be ending.
            self._next_look = now + _SOON_S
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_S
        states = await asyncio.to_thread(_states, self._job_kwargs["job_name"])
        self.waiting = Counter(why for state, why in states.values() if state == "PENDING")
        for name, job in list(self.workers.items()):
            state, _ = states.get(job.job_id, ("gone", ""))
            if state in ENDING or (state == "gone" and name not in living):
                await self._forget(name, job.job_id, state)

    async def _forget(self, name: str, job_id: str, state: str) -> None:
        logger.info("worker job %s has ended (%s)", job_id, state)
        # Where there are as many as may be, one more may be there now.
        self._next_try, self._pause_s = 0.0, _LOOK_S
        self.workers.pop(name).status = Status.closed
        self.worker_spec.pop(name, None)
        # Those of a lost node cannot say that they are gone.
        for worker in [each for each in self._workers() if self._job_of(each) == name]:
            await self._open_scheduler.remove_worker(worker.address, stimulus_id="job-ended")
        if name in self._reported or state == "CANCELLED":
            return
        self._barren += 1
        if self._barren >= _MOST_BARREN and not self.connected:
            self.fault = SlurmError(
                f"{self._barren} worker jobs in a row ended before a worker reported",
                str(self._logs / f"{job_id}.log"),
                "Read this log. The nodes must see this folder and its environment, and reach "
                f"{self.scheduler_address}; see `site.interface`",
            )

    async def _set_number(self) -> None:
        """Plan as many jobs as there is work for."""
        jobs = -(-self.wanted // self._processes)
        if len(self.worker_spec) >= jobs:
            self._pause_s = _LOOK_S
        elif time.monotonic() >= self._next_try:
            for _ in range(min(jobs - len(self.worker_spec), _MOST_SUBMITTED)):
                self.worker_spec.update(self.new_worker_spec())  # type: ignore[no-untyped-call]
        idle = self._idle()[: max(0, len(self.worker_spec) - jobs)]
        if idle:
            names = [each.name for each in self._workers() if self._job_of(each) in idle]
            await self._open_scheduler.retire_workers(names=names, close_workers=True, remove=True)
            for name in idle:
                self.worker_spec.pop(name, None)

    def _idle(self) -> list[str]:
        """Return the jobs of which no worker is at work, those that still wait first."""
        at_work = {self._job_of(worker) for worker in self._workers() if worker.processing}
        return sorted(self.worker_spec.keys() - at_work, key=lambda job: job in self._reported)

    def _refused(self, error: SlurmError) -> None:
        """Take back what SLURM refused; try later, or give up where that would not help."""
        refused = [name for name, job in self.workers.items() if job.status is Status.failed]
        for name in refused:
            del self.workers[name]
            self.worker_spec.pop(name, None)
        if not may_pass(error.what) and not self.workers:
            self.fault = error
            return
        logger.warning("%s Tried again in %.0f s", error, self._pause_s)
        self._next_try = time.monotonic() + self._pause_s
        if not refused:
            # It is SLURM's answer that is missing; of a full queue the jobs are looked after.
            self._next_look = self._next_try
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def _states(name: str) -> dict[str, tuple[str, str]]:
    """Return state and reason of the jobs of a name, by their number."""
    answer = ask("squeue", "-h", "--states=all", f"--name={name}", "--format=%A %T %r")
    lines = (line.split(maxsplit=2) for line in answer.splitlines())
    return {job: (state, reason) for job, state, reason in lines}

"""The one module that talks to dask-jobqueue: workers that are SLURM jobs."""

import asyncio
import itertools
import logging
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive
from distributed.scheduler import WorkerState
from distributed.security import Security

from lamella.errors import LamellaError, SettingsError, SlurmError
from lamella.fleet.cluster import Crew
from lamella.fleet.scratch import SCRATCH_VARIABLE
from lamella.fleet.settings import FleetSettings
from lamella.slurm.commands import ask
from lamella.slurm.job import ENDING
from lamella.slurm.settings import SiteSettings

# Its import copies its defaults into the folder of the user's own Dask settings, where that is not
# a file already; and after it Ctrl-C would end this process as if all were well.
_folder, dask.config.PATH = dask.config.PATH, __file__
_interrupt = signal.getsignal(signal.SIGINT)
from dask_jobqueue.slurm import SLURMCluster, SLURMJob  # noqa: E402

dask.config.PATH = _folder
signal.signal(signal.SIGINT, _interrupt)

logger = logging.getLogger(__name__)

WORKER_LOGS = Path("results/logs/slurm/fleet")
"""Where the logs of worker jobs go, a folder for each stage."""

# Workers take no new slide after this share of the job's time; the rest is for the last one.
_LIFETIME_SHARE = 0.8
_STAGGER_SHARE = 0.05
# A worker that has lost the stage's own process ends by itself.
_DEATH_S = 120
_NANNIES_MIB = 512
_RENEW_S = 1.0
_LOOK_S = 10.0
_SOON_S = 2.0
# Jobs in a second: every site has others, too.
_MOST_SUBMITTED = 10
_LINE_S = 60.0
_LONGEST_PAUSE_S = 300.0
_MOST_BARREN = 3
# What sbatch says where trying again later may help.
_PASSING = ("submit limit", "temporarily", "contact", "timed out", "try again", "connection")


class _WorkerJob(SLURMJob):
    """A job of workers whose submission may be refused."""

    async def _submit_job(self, script_filename: str) -> str:
        try:
            answer: str = await super()._submit_job(script_filename)  # type: ignore[no-untyped-call]
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


class _Keeper(Adaptive):
    """Dask's hook for what shall be done every second."""

    async def adapt(self) -> None:
        cluster: Any = self.cluster
        await cluster.renew()


class _WorkerJobs(SLURMCluster):
    """As many jobs as there is work for; one that has ended is replaced.

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
            await self._look()
            await self._set_number()
            await self._correct_state()  # type: ignore[no-untyped-call]
        except SlurmError as error:
            self._refused(error)
        else:
            if len(self.workers) == len(self.worker_spec):
                self._pause_s = _LOOK_S

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
        if len(self.worker_spec) < jobs and time.monotonic() >= self._next_try:
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
        for name, job in list(self.workers.items()):
            if job.status is Status.failed:
                del self.workers[name]
                self.worker_spec.pop(name, None)
        passing = any(text in error.what.lower() for text in _PASSING)
        if not passing and not self.workers:
            self.fault = error
            return
        logger.warning("%s Tried again in %.0f s", error, self._pause_s)
        self._next_try = self._next_look = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def _states(name: str) -> dict[str, tuple[str, str]]:
    """Return state and reason of the jobs of a name, by their number."""
    answer = ask("squeue", "-h", "--states=all", f"--name={name}", "--format=%A %T %r")
    lines = (line.split(maxsplit=2) for line in answer.splitlines())
    return {job: (state, reason) for job, state, reason in lines}


class SlurmCrew(Crew):
    """Workers that are SLURM jobs."""

    def __init__(self, client: Client, count: int, cluster: _WorkerJobs, limit_s: float) -> None:
        super().__init__(client, count)
        self._cluster = cluster
        self._limit_s = limit_s
        self._last_seen = self._last_line = time.monotonic()

    def want(self, slides: int) -> None:
        """Let jobs go that have no slide to do."""
        self._cluster.wanted = max(1, min(self.count, slides))

    def await_first(self) -> None:
        """Wait for the first worker.

        Raises:
            SlurmError: none comes.
        """
        while not self._cluster.connected:
            self.check()
            time.sleep(_RENEW_S / 5)
        logger.info("the first worker has reported")

    def check(self) -> None:
        """Say what the jobs wait for.

        Raises:
            SlurmError: there will be no workers, or have been none for too long.
        """
        now = time.monotonic()
        if self._cluster.fault is not None:
            raise self._cluster.fault
        if self._cluster.connected:
            self._last_seen = now
            return
        if now - self._last_line >= _LINE_S:
            self._last_line = now
            logger.info("no worker yet: %s", self._waits())
        if now - self._last_seen > self._limit_s:
            raise SlurmError(
                f"there was no worker in {self._limit_s / 60:.0f} min: {self._waits()}",
                "fleet.queue_limit_min",
                "Look at `squeue --me` and `sinfo`; raise the limit, or ask for less "
                "(`fleet.workers_per_job`, `site.walltime_min`); finished slides are kept",
            )

    def _waits(self) -> str:
        waiting = self._cluster.waiting
        if not waiting:
            return "no worker job is in the queue"
        reasons = ", ".join(f"{count} for {reason}" for reason, count in waiting.most_common())
        return f"{waiting.total()} worker jobs wait in the queue ({reasons})"


@contextmanager
def slurm_workers(
    stage: str, settings: FleetSettings, site: SiteSettings, most: int
) -> Iterator[Crew]:
    """Yield workers that are SLURM jobs, once the first of them has come; end all jobs afterwards.

    Raises:
        SettingsError: this machine has no network interface of the site's name.
        SlurmError: SLURM gives no workers.
    """
    _check_interface(site.interface)
    count = max(1, min(settings.max_workers, most))
    processes = min(settings.workers_per_job, count)
    count -= count % processes
    name = f"lamella-{stage}-{uuid.uuid4().hex[:8]}"
    logs = (WORKER_LOGS / stage).resolve()
    logs.mkdir(parents=True, exist_ok=True)
    try:
        with (
            _ended_by_signals(),
            # Where the nodes see them, and nobody but the user.
            tempfile.TemporaryDirectory(prefix=".keys-", dir=logs) as keys,
            _WorkerJobs(
                workers=count,
                processes=processes,
                logs=logs,
                job_name=name,
                security=_keys_in(Path(keys)),
                **_job_options(settings, site, processes, logs),
            ) as cluster,
            Client(cluster) as client,
        ):
            # Were there a bug in it, nothing else would say so.
            logging.getLogger(Adaptive.__module__).setLevel(logging.WARNING)
            cluster.adapt(Adaptive=_Keeper, interval=f"{_RENEW_S}s")
            _log_start(cluster, count, processes, name, logs)
            crew = SlurmCrew(client, count, cluster, settings.queue_limit_min * 60)
            crew.await_first()
            yield crew
    finally:
        _cancel_all(name)


def _check_interface(name: str | None) -> None:
    known = [found for _, found in socket.if_nameindex()]
    if name is not None and name not in known:
        raise SettingsError(
            f"this machine has no network interface {name!r} (it has {', '.join(known)})",
            "site.interface",
            "Name the one by which the nodes reach this machine, or leave it null",
        )


def _keys_in(folder: Path) -> Security:
    """Write new keys: others on a cluster shall neither give work to the workers nor take it."""
    made = Security.temporary()
    files = {"key": made.tls_client_key, "cert": made.tls_client_cert, "ca": made.tls_ca_file}
    for name, text in files.items():
        (folder / name).write_text(text)
    roles = ("client", "scheduler", "worker")
    keys = {f"tls_{role}_key": str(folder / "key") for role in roles}
    certificates = {f"tls_{role}_cert": str(folder / "cert") for role in roles}
    authority = str(folder / "ca")
    return Security(require_encryption=True, tls_ca_file=authority, **keys, **certificates)


def _job_options(
    settings: FleetSettings, site: SiteSettings, processes: int, logs: Path
) -> dict[str, Any]:
    """Return what dask-jobqueue is told of each job."""
    memory_mib = processes * settings.worker_memory_mib
    directives = [f"--output={shlex.quote(str(logs / '%j.log'))}", "--no-requeue"]
    if site.qos is not None:
        directives.append(f"--qos={site.qos}")
    return {
        "queue": site.partition,
        "account": site.account,
        "walltime": str(site.walltime_min),
        "interface": site.interface,
        "memory": f"{memory_mib}MiB",
        "job_mem": f"{memory_mib + _NANNIES_MIB}M",
        "python": sys.executable,
        "death_timeout": _DEATH_S,
        "local_directory": f'"${SCRATCH_VARIABLE}"',
        "log_directory": None,
        "job_extra_directives": directives,
        "job_script_prologue": _prologue(site),
        "worker_extra_args": _worker_arguments(site.walltime_min * 60),
        "scheduler_options": {"dashboard_address": "127.0.0.1:0", "interface": site.interface},
        "silence_logs": logging.CRITICAL,
    }


def _prologue(site: SiteSettings) -> list[str]:
    """Return the lines of a job's script before its workers start: a folder that ends with it."""
    scratch = site.scratch or "${TMPDIR:-/tmp}"
    return [
        f'export {SCRATCH_VARIABLE}="{scratch}/lamella-$SLURM_JOB_ID"',
        f'mkdir -p "${SCRATCH_VARIABLE}" || exit 1',
        f"trap 'rm -rf \"${SCRATCH_VARIABLE}\"' EXIT",
        "export DASK_DISTRIBUTED__WORKER__DAEMON=False",
        "export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=60s",
        # SlideWorker pauses itself; Dask would wake it.
        "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False",
    ]


def _worker_arguments(walltime_s: int) -> list[str]:
    lifetime_s = walltime_s * _LIFETIME_SHARE
    return [
        *("--worker-class", "lamella.fleet.slide_worker.SlideWorker"),
        *("--lifetime", f"{lifetime_s:.1f}s"),
        *("--lifetime-stagger", f"{lifetime_s * _STAGGER_SHARE:.1f}s"),
        # Without an address each worker would open a port to all the world.
        *("--dashboard-address", "127.0.0.1:0"),
    ]


def _log_start(cluster: _WorkerJobs, count: int, processes: int, name: str, logs: Path) -> None:
    logger.info(
        "up to %d workers, %d in each SLURM job named %s; their logs are in %s",
        *(count, processes, name, logs),
    )
    logger.info(
        "scheduler at %s, its dashboard at %s", cluster.scheduler_address, cluster.dashboard_link
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end this process as an exception does: the jobs must be taken back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _cancel_all(name: str) -> None:
    """Cancel what Dask may have left, such as a job that was being submitted."""
    try:
        ask("scancel", "--quiet", f"--name={name}")
    except SlurmError as error:
        logger.warning(
            "%s Worker jobs named %s may be left; they end by themselves %d s after they start",
            *(error, name, _DEATH_S),
        )

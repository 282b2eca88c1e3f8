"""Workers that are SLURM jobs: what they are told, and what is said of them while they wait."""

import logging
import os
import platform
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker
from distributed.deploy.adaptive import Adaptive

from lamella.errors import SettingsError, SlurmError
from lamella.fleet.cluster import Crew
from lamella.fleet.keys import stage_keys
from lamella.fleet.left_jobs import new_name
from lamella.fleet.lost_workers import was_job_out_of_memory
from lamella.fleet.scratch import SCRATCH_VARIABLE
from lamella.fleet.settings import LIFETIME_SHARE, FleetSettings, WorkerJobShape
from lamella.fleet.worker_jobs import RENEW_S, Keeper, WorkerJobs
from lamella.slurm.commands import ask
from lamella.slurm.container import engine, image_of, python_in, told
from lamella.slurm.settings import SiteSettings

logger = logging.getLogger(__name__)

WORKER_LOGS = Path("results/logs/slurm/fleet")
"""Where the logs of worker jobs go, a folder for each stage."""

_STAGGER_SHARE = 0.05
# Unlike /status it needs no bokeh.
_PAGE = "/info/main/workers.html"
# A worker that has lost the stage's own process ends by itself.
_DEATH_S = 120
_LINE_S = 60.0


class SlurmCrew(Crew):
    """Workers that are SLURM jobs."""

    def __init__(
        self, client: Client, count: int, cluster: WorkerJobs, limit_s: float, logs: Path
    ) -> None:
        super().__init__(client, count)
        self._cluster = cluster
        self._logs = logs
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
            time.sleep(RENEW_S / 5)
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

    def was_out_of_memory(self, lost: KilledWorker) -> bool:
        """Return whether a worker, or its job, was killed for its memory."""
        return was_job_out_of_memory(self.client, lost, self._logs)

    def _waits(self) -> str:
        waiting = self._cluster.waiting
        if not waiting:
            return "no worker job is in the queue"
        reasons = ", ".join(f"{count} for {reason}" for reason, count in waiting.most_common())
        return f"{waiting.total()} worker jobs wait in the queue ({reasons})"


@contextmanager
def slurm_workers(
    stage: str, manifest: Path, settings: FleetSettings, site: SiteSettings, most: int
) -> Iterator[Crew]:
    """Yield workers that are SLURM jobs, once the first of them has come; end all jobs afterwards.

    Those that the stage has left when it was killed end before.

    Raises:
        SettingsError: this machine has no network interface of the site's name.
        SlurmError: SLURM gives no workers.
    """
    _check_interface(site.interface)
    jobs = settings.jobs_for(most)
    name = new_name(stage, manifest)
    logs = (WORKER_LOGS / stage).resolve()
    logs.mkdir(parents=True, exist_ok=True)
    try:
        with (
            _ended_by_signals(),
            stage_keys(logs) as keys,
            WorkerJobs(
                workers=jobs.workers,
                processes=jobs.cores,
                logs=logs,
                job_name=name,
                security=keys,
                **_job_options(jobs, site, logs),
            ) as cluster,
            Client(cluster) as client,
        ):
            # Were there a bug in it, nothing else would say so.
            logging.getLogger(Adaptive.__module__).setLevel(logging.WARNING)
            cluster.adapt(Adaptive=Keeper, interval=f"{RENEW_S}s")
            _log_start(cluster, jobs, name, logs)
            crew = SlurmCrew(client, jobs.workers, cluster, settings.queue_limit_min * 60, logs)
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


def _job_options(jobs: WorkerJobShape, site: SiteSettings, logs: Path) -> dict[str, Any]:
    """Return what dask-jobqueue is told of each job."""
    directives = [f"--output={shlex.quote(str(logs / '%j.log'))}", "--no-requeue"]
    if site.qos is not None:
        directives.append(f"--qos={site.qos}")
    return {
        "queue": site.partition,
        "account": site.account,
        "walltime": str(site.walltime_min),
        "interface": site.interface,
        "memory": f"{jobs.workers_mib}MiB",
        "job_mem": f"{jobs.memory_mib}M",
        "python": shlex.join(python_in(image_of(site))),
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
        *_container_lines(site),
        "export DASK_DISTRIBUTED__WORKER__DAEMON=False",
        "export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=60s",
        # SlideWorker pauses itself; Dask would wake it.
        "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False",
    ]


def _container_lines(site: SiteSettings) -> list[str]:
    """Return the lines that tell a container what it shows, also where SLURM exports nothing."""
    if site.container is None:
        return []
    begin = engine().upper()
    exports = (f"export {name}={shlex.quote(value)}" for name, value in told(os.environ).items())
    return [*exports, f'export {begin}_BIND="${{{begin}_BIND:+${begin}_BIND,}}${SCRATCH_VARIABLE}"']


def _worker_arguments(walltime_s: int) -> list[str]:
    lifetime_s = walltime_s * LIFETIME_SHARE
    return [
        *("--worker-class", "lamella.fleet.slide_worker.SlideWorker"),
        *("--lifetime", f"{lifetime_s:.1f}s"),
        *("--lifetime-stagger", f"{lifetime_s * _STAGGER_SHARE:.1f}s"),
        # Without an address each worker would open a port to all the world.
        *("--dashboard-address", "127.0.0.1:0"),
    ]


def _log_start(cluster: WorkerJobs, jobs: WorkerJobShape, name: str, logs: Path) -> None:
    logger.info(
        "up to %d workers, %d in each SLURM job named %s; their logs are in %s",
        *(jobs.workers, jobs.cores, name, logs),
    )
    # Dask's own link names a host on which its pages are not to be seen: they are for this machine.
    port = cluster.scheduler_info["services"]["dashboard"]
    logger.info(
        "scheduler at %s; its workers are shown at http://127.0.0.1:%d%s on this machine, and on "
        "another one after `ssh -N -L %d:127.0.0.1:%d %s` there",
        *(cluster.scheduler_address, port, _PAGE, port, port, platform.node()),
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

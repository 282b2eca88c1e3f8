"""A real SLURM on this machine, and trainings that run on it."""

import contextlib
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lamella.models.settings import HeadSettings
from lamella.slurm.settings import Launcher
from lamella.training.settings import Backend, RunSettings, TrainingSettings

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
PROGRAM = HERE / "programs" / "untracked.py"
OFTEN = 1e-9
"""Minutes between checkpoints: every step is one."""

_POLL_S = 0.1
_LIMIT_S = 480.0


def wait_for(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not happened():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(_POLL_S)


def has_ended(process: int) -> bool:
    """Return whether a process is gone, or dead and not buried yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass(frozen=True)
class Cluster:
    """A running SLURM: nodes cpu1 and cpu2, gpu1 and gpu2."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "SLURM_CONF": str(self.folder / "etc-lamella-slurm" / "slurm.conf"),
            "SLURM_TIME_FORMAT": "%s",
            # mpirun wants to be told twice.
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }

    @property
    def has_accounts(self) -> bool:
        """Whether slurmdbd keeps accounts for it."""
        return "accounting_storage/slurmdbd" in self.ask("scontrol", "show", "config")

    def ask(self, *command: str | Path) -> str:
        ended = subprocess.run(
            list(map(str, command)),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    def submit(self, script: Path, *options: str) -> str:
        """Submit a batch script for one task on each of two nodes, and return the job's number."""
        log = f"--output={script}.log"
        shape = ("--nodes=2", "--ntasks-per-node=1", "--mem=3000", "--requeue")
        return self.ask("sbatch", "--parsable", *shape, log, *options, script)

    def jobs(self) -> list[str]:
        """Return the numbers of all jobs that wait or run."""
        return self.ask("squeue", "-h", "-o", "%A").split()

    def wait_until_empty(self) -> None:
        """Wait until no job waits, runs or ends."""
        wait_for(lambda: not self.jobs(), "an empty queue")

    wait_for = staticmethod(wait_for)
    has_ended = staticmethod(has_ended)

    def start_missing(self) -> None:
        """Start those parts of SLURM that do not run; nodes and jobs are as they were."""
        subprocess.run([HERE / "start.sh", self.folder], check=True)

    def facts(self, job: str) -> dict[str, str]:
        words = self.ask("scontrol", "show", "job", "-o", job).split()
        return dict(word.partition("=")[::2] for word in words)

    def wait(self, job: str) -> str:
        """Wait for the end of a job and return its exit code and signal, such as ``0:0``."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        wait_for(lambda: self.facts(job)["JobState"] in over, f"end of job {job}")
        return self.facts(job)["ExitCode"]

    def hasten(self, job: str) -> None:
        """Have a job that is queued again start soon: SLURM would let two minutes pass."""
        wait_for(lambda: self._is_queued_again(job), f"job {job} queued again")
        self.start_soon(job)

    def _is_queued_again(self, job: str) -> bool:
        """Return whether a job waits or runs for the second time; it first has to end."""
        facts = self.facts(job)
        waits = facts["JobState"] == "PENDING" and facts["StartTime"].isdigit()
        return facts["Restarts"] == "1" and (waits or facts["JobState"] == "RUNNING")

    def start_soon(self, job: str) -> None:
        """Have a job that waits for its time start soon; any other is left alone."""
        facts = self.facts(job)
        starts = facts["StartTime"]
        # "Unknown" before its first start.
        if facts["JobState"] != "PENDING" or not starts.isdigit():
            return
        if float(starts) > time.time() + 30:
            # A second start in the same second as the first end is refused as out of date.
            self.ask("scontrol", "update", f"JobId={job}", "StartTime=now+4")


@pytest.fixture(scope="session", autouse=True)
def hears_interrupts() -> Iterator[None]:
    """Have what the tests start hear SIGINT, also where a shell runs them in the background.

    Such a shell has it ignored, and what is ignored stays so in the programs that are started.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start the cluster for all tests that want it."""
    # A socket's path may have 107 characters: not below pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="lamella-slurm-"))
    try:
        started = subprocess.run(
            [HERE / "start.sh", folder], stderr=subprocess.PIPE, text=True, check=False
        )
        if started.returncode in {2, 3}:
            pytest.skip(f"no SLURM for the tests: {started.stderr.strip().splitlines()[-1]}")
        assert started.returncode == 0, started.stderr
        yield Cluster(folder)
    finally:
        subprocess.run([HERE / "stop.sh", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


class LostNodes:
    """Nodes that are lost: nothing on them answers any more, and no connection to them ends."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._frozen: dict[str, set[int]] = {}

    def freeze(self, node: str) -> None:
        """Stop all that runs on a node, its slurmd first, so that nothing new is started."""
        processes = self._frozen[node] = set()
        daemon = int((self.cluster.folder / f"run/slurmd.{node}.pid").read_text())
        found = {daemon}
        while found:
            for number in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGSTOP)
            processes |= found
            found = processes_on(node) - processes

    def bring_back(self) -> None:
        """Start the nodes anew, as after a reset: nothing that ran there goes on."""
        for node, processes in self._frozen.items():
            for number in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            wait_for(lambda lost=processes: all(map(has_ended, lost)), f"the end of {node}")
        self._frozen.clear()
        self.cluster.start_missing()


def processes_on(node: str) -> set[int]:
    """Return the numbers of all processes of jobs on a node, and of SLURM's own above them."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(") ")[2].split()[1]
            above = (process.parent / parent / "comm").read_text()
        # In a container the first process may be out of reach, of root, too.
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if f"SLURMD_NODENAME={node}".encode() in variables:
            found.add(int(process.name))
            found |= {int(parent)} if above == "slurmstepd\n" else set()
    return found


@pytest.fixture
def lost_nodes(cluster: Cluster) -> Iterator[LostNodes]:
    """Return what loses nodes, and has them back at the end."""
    lost = LostNodes(cluster)
    yield lost
    lost.bring_back()


@pytest.fixture
def preempt(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Return what submits a job that takes the nodes of partition cpu from all others."""
    nodes = ("Nodes=cpu1,cpu2", "PriorityTier=10", "MaxTime=60")
    cluster.ask("scontrol", "create", "PartitionName=urgent", *nodes)
    shape = ("--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null")
    yield lambda: cluster.ask("sbatch", "--parsable", *shape, "--wrap=sleep 5")
    cluster.wait_until_empty()
    cluster.ask("scontrol", "delete", "PartitionName=urgent")


@pytest.fixture
def allow(cluster: Cluster) -> Iterator[Callable[[int], None]]:
    """Return what sets how many jobs the account may have at a time."""
    if not cluster.has_accounts:
        pytest.skip("there are limits with accounting only: set LAMELLA_SLURM_ACCOUNTING=1")

    def allow(jobs: int) -> None:
        where = ("user", "root", "where", "account=lab")
        cluster.ask("sacctmgr", "--immediate", "modify", *where, "set", f"MaxSubmitJobs={jobs}")

    yield allow
    # No limit.
    allow(-1)


class Trainings:
    """Trainings of a small network on drawn patches, by two ranks."""

    wait_for = staticmethod(wait_for)

    def __init__(self, folder: Path) -> None:
        self.index = self.draw(folder)

    def draw(self, folder: Path) -> Path:
        """Write five slides with 20 to 16 patches of 32 pixels, and return their index."""
        drawing = runpy.run_path(str(REPOSITORY / "tests/unit/training/conftest.py"))
        folder.mkdir(parents=True, exist_ok=True)
        index: Path = drawing["draw_cohort"](folder, per_slide=20)
        return index

    def command(
        self,
        folder: Path,
        backend: Backend,
        *,
        nodes: int,
        epochs: int = 8,
        launcher: Launcher = Launcher.SRUN,
        **limits: int,
    ) -> list[str]:
        """Return the call that trains into a folder; limits are fields of the settings."""
        run = RunSettings(
            model="test_resnet",
            epochs=epochs,
            batch_size=4,
            accumulate=2,
            learning_rate=0.01,
            head=HeadSettings(hidden=(16,), dropout=0.5),
        )
        settings = TrainingSettings(
            backend=backend,
            processes=2,
            nodes=nodes,
            runs={"tiny": run},
            checkpoint_minutes=OFTEN,
            **limits,
        )
        return [
            *(sys.executable, str(PROGRAM), "launch"),
            *("--index", str(self.index), "--output", str(folder), "--run", "tiny", "--seed", "5"),
            *("--settings", settings.model_dump_json(), "--log", str(folder / "log")),
            *("--requeue", "--launcher", launcher),
        ]

    def script(self, folder: Path, backend: Backend, **options: Any) -> Path:
        """Write a batch script that is a training on two nodes, from its first line to its last."""
        words = self.command(folder, backend, nodes=2, **options)
        return self.write(folder, f"exec {shlex.join(words)}")

    def write(self, folder: Path, line: str) -> Path:
        """Write a batch script."""
        path = folder / "job"
        path.write_text(f"#!/bin/bash\n{line}\n")
        return path

    def ranks(self, folder: Path) -> dict[int, int]:
        """Return the process numbers of the ranks that train into a folder, by rank."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                # srun has the same words, further behind.
                if b"rank" not in words[:3] or str(folder).encode() not in words:
                    continue
                variables = (process / "environ").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # One that has just died has no variables any more.
            for each in variables:
                if each.startswith(b"SLURM_PROCID="):
                    found[int(each.partition(b"=")[2])] = int(process.name)
        return found


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("cohort"))


Mounted = Callable[[Path, str], AbstractContextManager[None]]


@pytest.fixture
def mounted() -> Mounted:
    """Return a block in which an empty file system stands in for a folder."""
    return _mounted


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"no file system can be mounted: {ended.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)

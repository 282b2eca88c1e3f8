"""Start the ranks of a training on several nodes of a SLURM job, by one ``srun``.

Needs no ssh and no MPI, and a folder for results, patches and ``.venv`` that all nodes see.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lamella.errors import TrainingError
from lamella.slurm.job import hosts, in_job, this_job, without_bindings
from lamella.training.launch import (
    LAST_LINES_S,
    MEMORY,
    POLL_S,
    Stop,
    log_line,
    noting_signals,
    obituary,
)
from lamella.training.lifeline import LAUNCHER_VARIABLE
from lamella.training.meeting_place import meeting_of_nodes
from lamella.training.network import address_of, address_towards
from lamella.training.seat import STEP_VARIABLE, STOPPED
from lamella.training.settings import TrainingSettings
from lamella.training.stopping import EXIT_STOPPED

_logger = logging.getLogger(__name__)
_END_LIMIT_S = 60.0
"""Seconds that ``srun`` has to end all ranks; SLURM itself waits for 30 (KillWait)."""

_FROM_RANK = re.compile(r"\s*(\d+): ?(.*)")
"""A rank's line, as ``srun --label`` gives it."""

_DEATH = re.compile(r"srun: error: (?P<node>\S+): tasks? (?P<rank>\d+)\S*: (?P<cause>.+)")
"""What ``srun`` says of ranks that ended badly, such as "srun: error: n2: task 1: Killed"."""


@dataclass
class _Step:
    """A running ``srun``, and what was heard of its ranks.

    Attributes:
        process: The ``srun``.
        ranks: Number of ranks.
        heard: Ranks that have said something, and so listen to signals or let them wait.
        stopped: Ranks that have stopped as they were asked to.
        death: Rank and node of the first that ended badly, and what of.
    """

    process: "subprocess.Popen[str]"
    ranks: int
    heard: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    death: tuple[int, str, str] | None = None


def launch_on_nodes(command: Sequence[str], training: TrainingSettings, *, threads: int) -> None:
    """Run a program as ranks of one group on the nodes of this SLURM job, and wait for all.

    What the ranks print is logged. The ranks end when this process ends, whatever ends it.
    SIGUSR1 and SIGTERM are passed on as by ``lamella.training.launch.launch_training``.

    Args:
        command: Program and arguments; it must call ``take_seat`` and ``join_group``.
        training: Nodes, processes, backend and limits.
        threads: Threads per rank for arithmetic.

    Raises:
        TrainingError: this is no SLURM job with enough nodes and cores, or a rank ended with
            another code than 0; the others were ended.
        SystemExit: code ``EXIT_STOPPED`` when the ranks have stopped and kept their state; 143 when
            they did not in time after SIGTERM.
    """
    hosts = _hosts(training, threads)
    interface = training.network_interface
    address = address_of(interface) if interface else address_towards(hosts[1])
    with (
        noting_signals() as stop,
        meeting_of_nodes(
            training.backend,
            hosts,
            training.processes,
            address=address,
            start_limit_s=training.start_limit_s,
            exchange_limit_s=training.exchange_limit_s,
        ) as variables,
    ):
        _logger.info("ranks on %s meet at %s", ", ".join(hosts), address)
        step, reader = _start(command, training, hosts, variables, threads)
        try:
            _wait(step, stop)
        finally:
            _end(step, reader)
        _check(step, reader)


def _hosts(training: TrainingSettings, threads: int) -> list[str]:
    """Return the nodes to use, of which this is the first."""
    asked = f"training.nodes: {training.nodes}"
    remedy = (
        f"Ask for them: sbatch --nodes {training.nodes} --ntasks-per-node"
        f" {training.processes_per_node} --cpus-per-task {threads}, or snakemake --profile"
        " profiles/slurm; or set nodes: 1"
    )
    if not in_job() or shutil.which("srun") is None:
        raise TrainingError("several nodes need a SLURM job, and this is none", asked, remedy)
    job = this_job()
    names = hosts(job.node_list)
    cores = training.processes * threads
    if len(names) < training.nodes or job.cpus < cores:
        raise TrainingError(
            f"SLURM job {job.number} has {len(names)} nodes and {job.cpus} cores, which is less"
            f" than {training.nodes} and {cores}",
            asked,
            remedy,
        )
    here = os.environ.get("SLURMD_NODENAME", "no node of the job")
    if here != names[0]:
        raise TrainingError(
            f"the training was started on {here} and not on {names[0]}, the first node of SLURM"
            f" job {job.number}",
            asked,
            "Start it by sbatch, or by srun --overlap --nodes 1 --ntasks 1",
        )
    return names[: training.nodes]


def _start(
    command: Sequence[str],
    training: TrainingSettings,
    hosts: Sequence[str],
    variables: dict[str, str],
    threads: int,
) -> tuple[_Step, threading.Thread]:
    environment = {
        **MEMORY,
        **without_bindings(os.environ),
        **variables,
        LAUNCHER_VARIABLE: str(os.getpid()),
        STEP_VARIABLE: "1",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lamella.training.lifeline",
            *_srun(training, hosts, threads),
            *command,
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    step = _Step(process, training.processes)
    reader = threading.Thread(target=_read, args=(step,), daemon=True)
    reader.start()
    return step, reader


def _srun(training: TrainingSettings, hosts: Sequence[str], threads: int) -> list[str]:
    """Return the call that starts the ranks."""
    return [
        "srun",
        *("--nodes", str(training.nodes), "--nodelist", ",".join(hosts)),
        *("--ntasks", str(training.processes)),
        *("--ntasks-per-node", str(training.processes_per_node)),
        *("--distribution", "block"),
        *("--cpus-per-task", str(threads)),
        # The job's cores and memory, also where another of its steps has asked for all of them.
        *("--overlap", "--mem", "0"),
        *("--kill-on-bad-exit=1", "--export", "ALL", "--label", "--input", "none"),
        f"--immediate={training.start_limit_s}",
    ]


def _read(step: _Step) -> None:
    """Log what the ranks and ``srun`` print, and note what it means."""
    assert step.process.stdout is not None
    with step.process.stdout as lines:
        for line in map(str.rstrip, lines):
            labelled = _FROM_RANK.fullmatch(line)
            if labelled:
                _hear(step, int(labelled[1]), labelled[2])
                continue
            death = _DEATH.fullmatch(line)
            if death and step.death is None:
                step.death = int(death["rank"]), death["node"], death["cause"]
            _logger.info("%s", line)


def _hear(step: _Step, rank: int, text: str) -> None:
    step.heard.add(rank)
    if text == STOPPED:
        step.stopped.add(rank)
    else:
        log_line(rank, text)


def _wait(step: _Step, stop: Stop) -> None:
    """Return when ``srun`` has ended, which it does as soon as one rank ends badly."""
    told = False
    while step.process.poll() is None:
        if stop.asked and not told and len(step.heard) == step.ranks:
            told = True
            # It gives the signal to all ranks.
            step.process.send_signal(signal.SIGUSR1)
        if time.monotonic() > stop.deadline_s:
            raise SystemExit(128 + signal.SIGTERM)
        time.sleep(POLL_S)


def _end(step: _Step, reader: threading.Thread) -> None:
    """End all ranks that still run, and read the last lines."""
    if step.process.poll() is None:
        # Has `srun` kill them, and wait until they are gone.
        step.process.terminate()
        try:
            step.process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            step.process.kill()
            step.process.wait()
    reader.join(LAST_LINES_S)


def _check(step: _Step, reader: threading.Thread) -> None:
    """Raise unless all ranks have ended well."""
    remedy = (
        "Its last lines above say why; the other ranks were ended. "
        "Started again, the training goes on from its last checkpoint"
    )
    if step.death is not None:
        rank, node, cause = step.death
        where = f"rank {rank} of {step.ranks} on {node}"
        raise TrainingError(_told(cause), where, remedy)
    if step.process.returncode:
        raise TrainingError(obituary(step.process.returncode), "srun", remedy)
    if len(step.stopped) == step.ranks:
        raise SystemExit(EXIT_STOPPED)
    if step.stopped or reader.is_alive():
        raise TrainingError("not all ranks were heard to the end", "srun", remedy)


def _told(cause: str) -> str:
    """Say how a rank ended in the words of the launcher on one node."""
    code = re.fullmatch(r"Exited with exit code (\d+)", cause)
    if code:
        return obituary(int(code[1]))
    for number in signal.valid_signals():
        if cause == signal.strsignal(number):
            return obituary(-number)
    return f"ended: {cause}"

"""A running launcher of the site's: its ranks are heard, asked to stop, ended and told apart."""

import contextlib
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import lamella.training.command
from lamella.errors import TrainingError
from lamella.slurm.job import without_bindings
from lamella.training.command import COMMAND_VARIABLE
from lamella.training.launch import LAST_LINES_S, POLL_S, Stop, log_line, obituary
from lamella.training.lifeline import LAUNCHER_VARIABLE
from lamella.training.seat import PROCESS, STOPPED
from lamella.training.site_launchers import Order, SiteLauncher
from lamella.training.stopping import EXIT_STOPPED

_logger = logging.getLogger(__name__)
_END_LIMIT_S = 60.0
"""Seconds that a launcher has to end all ranks; SLURM itself waits for 30 (KillWait)."""


@dataclass
class _Step:
    """A running launcher, and what was heard of its ranks.

    Attributes:
        process: The launcher.
        launcher: How it is called and understood.
        order: Which ranks it has started where.
        heard: Ranks that have said something, and so listen to signals or let them wait.
        stopped: Ranks that have stopped as they were asked to.
        first: Process number of rank 0, where it has said it.
        death: What the launcher has said of the first rank that ended badly.
        deadline_s: When, on the monotonic clock, the launcher must have ended the others.
    """

    process: "subprocess.Popen[str]"
    launcher: SiteLauncher
    order: Order
    heard: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    first: int | None = None
    death: dict[str, str] = field(default_factory=dict)
    deadline_s: float = math.inf

    @property
    def listens(self) -> bool:
        """Whether all ranks can be asked to stop."""
        can_be_told = self.launcher.passes_signals or self.first is not None
        return can_be_told and len(self.heard) == self.order.ranks

    def ask_to_stop(self) -> None:
        """Give the signal to the ranks; where one has it, all stop."""
        if self.launcher.passes_signals:
            self.process.send_signal(signal.SIGUSR1)
        elif self.first is not None:
            # It may have ended, of which the launcher tells.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGUSR1)


def run_ranks(
    command: Sequence[str],
    launcher: SiteLauncher,
    order: Order,
    variables: Mapping[str, str],
    stop: Stop,
) -> None:
    """Have a launcher run a program as ranks, and wait for the end of all.

    Args:
        command: Program and arguments of a rank.
        launcher: How it is called and understood.
        order: Which ranks it starts where.
        variables: Environment variables that all ranks need.
        stop: What signals ask for meanwhile.

    Raises:
        TrainingError: a rank ended with another code than 0; the others were ended.
        SystemExit: code ``EXIT_STOPPED`` when the ranks have stopped and kept their state; 143 when
            they did not in time after SIGTERM.
    """
    step, reader = _start(command, launcher, order, variables)
    try:
        _wait(step, stop)
    finally:
        _end(step, reader)
    _check(step, reader)


def _start(
    command: Sequence[str], launcher: SiteLauncher, order: Order, variables: Mapping[str, str]
) -> tuple[_Step, threading.Thread]:
    if not launcher.takes_options:
        variables = {**variables, COMMAND_VARIABLE: json.dumps(list(command))}
        command = [sys.executable, lamella.training.command.__file__]
    environment = {
        **without_bindings(os.environ),
        **launcher.environment,
        **variables,
        LAUNCHER_VARIABLE: str(os.getpid()),
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lamella.training.lifeline",
            *launcher.call(order, variables.keys()),
            *command,
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    step = _Step(process, launcher, order)
    reader = threading.Thread(target=_read, args=(step,), daemon=True)
    reader.start()
    return step, reader


def _read(step: _Step) -> None:
    """Log what the ranks and their launcher print, and note what it means."""
    assert step.process.stdout is not None
    with step.process.stdout as lines:
        for line in map(str.rstrip, lines):
            said = list(step.launcher.heard(line))
            for rank, text in said:
                _hear(step, rank, text)
            if not said and line:
                _note_death(step, line)
                _logger.info("%s", line)


def _hear(step: _Step, rank: int, text: str) -> None:
    step.heard.add(rank)
    if text == STOPPED:
        step.stopped.add(rank)
    elif text.startswith(PROCESS) and text.removeprefix(PROCESS).isdigit():
        step.first = int(text.removeprefix(PROCESS)) if rank == 0 else step.first
    elif text:
        log_line(rank, text)


def _note_death(step: _Step, line: str) -> None:
    """Add what a line says of the first rank that ended badly."""
    for pattern in step.launcher.deaths:
        found = pattern.search(line)
        if found and not found.groupdict().keys() & step.death.keys():
            step.death |= found.groupdict()
            step.deadline_s = min(step.deadline_s, time.monotonic() + _END_LIMIT_S)


def _wait(step: _Step, stop: Stop) -> None:
    """Return when the launcher has ended, which it does as soon as one rank ends badly.

    Where a node is lost, it would wait for that node, and is ended.
    """
    told = False
    while step.process.poll() is None:
        if time.monotonic() > step.deadline_s:
            _logger.warning(
                "%s has not ended all ranks in %.0f s, as where a node is lost: it is killed",
                *(step.launcher.name, _END_LIMIT_S),
            )
            step.process.kill()
            step.process.wait()
            return
        if stop.asked and not told and step.listens:
            told = True
            step.ask_to_stop()
        if time.monotonic() > stop.deadline_s:
            raise SystemExit(128 + signal.SIGTERM)
        time.sleep(POLL_S)


def _end(step: _Step, reader: threading.Thread) -> None:
    """End all ranks that still run, and read the last lines."""
    if step.process.poll() is None:
        # Has it kill them, and wait until they are gone.
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
    if "rank" in step.death and len(step.death) > 1:
        rank = int(step.death["rank"])
        node = step.death.get("node", step.order.hosts[rank // step.order.each])
        where = f"rank {rank} of {step.order.ranks} on {node}"
        raise TrainingError(_told(step.death), where, remedy)
    if step.process.returncode:
        raise TrainingError(obituary(step.process.returncode), step.launcher.name, remedy)
    if len(step.stopped) == step.order.ranks:
        raise SystemExit(EXIT_STOPPED)
    if step.stopped or reader.is_alive():
        raise TrainingError("not all ranks were heard to the end", step.launcher.name, remedy)


def _told(death: Mapping[str, str]) -> str:
    """Say how a rank ended in the words of the launcher on one node."""
    if "signal" in death:
        return obituary(-int(death["signal"]))
    cause = death.get("cause", "")
    code = re.fullmatch(r"Exited with exit code (\d+)", cause)
    if code or "code" in death:
        number = int(code[1] if code else death["code"])
        # As a shell names a signal; 255 is ssh's.
        return obituary(128 - number if number - 128 in signal.valid_signals() else number)
    for number in signal.valid_signals():
        if cause == signal.strsignal(number):
            return obituary(-number)
    return f"ended: {cause}"

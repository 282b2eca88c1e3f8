"""Start the ranks of a training on this node, pass on what they say, end them all when one dies.

Those of several nodes: ``lamella.training.launch_nodes``.
"""

import contextlib
import logging
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from lamella.errors import TrainingError
from lamella.training.lifeline import LAUNCHER_VARIABLE
from lamella.training.meeting_place import Seat, meeting_place
from lamella.training.settings import Backend
from lamella.training.stopping import EXIT_STOPPED, STOP_SIGNALS

_logger = logging.getLogger(__name__)
POLL_S = 0.05
LAST_LINES_S = 8.0
"""Seconds for the last lines of all ranks that have ended: they say why. A child of theirs may hold
its output open for ever; after SIGTERM there are no more of them."""

_CAUSE_S = 2.0
"""Seconds in which a rank that was killed is seen to be, after another has failed for want of it:
its connections are closed before it has ended."""

_STOP_LIMIT_S = 20.0
"""Seconds that ranks have after SIGTERM to keep their state: SLURM kills after 30 (KillWait)."""

MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 1024**3),
}
"""Has the C library keep freed memory for the next step, instead of giving it back to the kernel
and asking for it again: a tenth of the processor time of a step on patches of 64 pixels. Man 3
mallopt."""


@dataclass
class Stop:
    """What signals have asked the launcher for."""

    asked: bool = False
    deadline_s: float = math.inf


@dataclass
class _Rank:
    """A running rank and the thread that reads what it prints."""

    number: int
    process: subprocess.Popen[str]
    reader: threading.Thread


def launch_training(
    command: Sequence[str],
    processes: int,
    *,
    backend: Backend,
    threads: int = 1,
    start_limit_s: int = 300,
    exchange_limit_s: int = 1800,
) -> None:
    """Run a program as ranks of one group on this machine, and wait for the end of all.

    What the ranks print is logged. The ranks end when this process ends, whatever ends it.
    Call it from the main thread: Linux ties the ranks' lives to the thread that started them.

    SIGUSR1 and SIGTERM are passed on to the ranks as SIGUSR1, whatever time they then take; after
    SIGTERM they have 20 seconds.

    Args:
        command: Program and arguments; it must call ``end_with_launcher`` and ``join_group``.
        processes: Number of ranks.
        backend: How they exchange gradients.
        threads: Threads per rank for arithmetic.
        start_limit_s: Seconds that ranks wait for each other at the start.
        exchange_limit_s: Seconds that a rank waits for the others in an exchange.

    Raises:
        TrainingError: a rank ended with another code than 0; the others were ended.
        SystemExit: code ``EXIT_STOPPED`` when the ranks have stopped and kept their state; 143 when
            they did not in time after SIGTERM.
    """
    with (
        noting_signals() as stop,
        meeting_place(
            backend, processes, start_limit_s=start_limit_s, exchange_limit_s=exchange_limit_s
        ) as seats,
    ):
        ranks: list[_Rank] = []
        try:
            for number, seat in enumerate(seats):
                ranks.append(_start(command, number, seat, threads))
            _wait(ranks, stop)
        finally:
            _end(ranks)


def _start(command: Sequence[str], number: int, seat: Seat, threads: int) -> _Rank:
    environment = {
        **MEMORY,
        **os.environ,
        **seat.variables,
        LAUNCHER_VARIABLE: str(os.getpid()),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }
    # A rank inherits that signals wait, until it listens to them: none ends it as it starts.
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=seat.files,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    reader = threading.Thread(target=_log_lines, args=(number, process), daemon=True)
    reader.start()
    return _Rank(number, process, reader)


def _log_lines(number: int, process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            log_line(number, line)


def log_line(number: int, line: str) -> None:
    """Log a line that a rank printed; its first word may name the level."""
    line = line.rstrip()
    levels = logging.getLevelNamesMapping()
    first, _, rest = line.partition(" ")
    level, text = (levels[first], rest) if first in levels else (logging.INFO, line)
    _logger.log(level, "rank %d: %s", number, text)


def _wait(ranks: Sequence[_Rank], stop: Stop) -> None:
    """Return when all ranks ended well; raise when one did not."""
    told = False
    while None in (codes := _codes(ranks)):
        if any(map(_is_bad, codes)):
            break
        if stop.asked and not told:
            told = True
            for rank in ranks:
                rank.process.send_signal(signal.SIGUSR1)
        if time.monotonic() > stop.deadline_s:
            raise SystemExit(128 + signal.SIGTERM)
        time.sleep(POLL_S)
    _check(_with_the_cause(ranks, codes))
    if EXIT_STOPPED in codes:
        raise SystemExit(EXIT_STOPPED)


def _codes(ranks: Sequence[_Rank]) -> list[int | None]:
    return [rank.process.poll() for rank in ranks]


def _is_bad(code: int | None) -> bool:
    return code not in (None, 0, EXIT_STOPPED)


def _with_the_cause(ranks: Sequence[_Rank], codes: list[int | None]) -> list[int | None]:
    """Return the codes, or later ones where a rank was killed: others have failed by it."""
    deadline_s = time.monotonic() + _CAUSE_S
    later = codes
    while None in later and not _one_was_killed(later) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
        later = _codes(ranks)
    return later if _one_was_killed(later) else codes


def _one_was_killed(codes: Sequence[int | None]) -> bool:
    return any(code is not None and code < 0 for code in codes)


def _check(codes: Sequence[int | None]) -> None:
    """Raise for a rank that ended badly; a signal is told rather than the codes it led to."""
    for code in sorted(code for code in codes if code is not None and _is_bad(code)):
        raise TrainingError(
            obituary(code),
            f"rank {codes.index(code)} of {len(codes)}",
            "Its last lines above say why; the other ranks were ended. "
            "Started again, the training goes on from its last checkpoint",
        )


def obituary(code: int) -> str:
    """Say how a process ended, from the code that ``subprocess`` gives."""
    if code > 0:
        return f"ended with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"


def _end(ranks: Sequence[_Rank]) -> None:
    """End what still runs, at once: a group that is broken has nothing to keep."""
    for rank in ranks:
        rank.process.kill()
        rank.process.wait()
    deadline_s = time.monotonic() + LAST_LINES_S
    for rank in ranks:
        rank.reader.join(max(0.0, deadline_s - time.monotonic()))


@contextlib.contextmanager
def noting_signals() -> Iterator[Stop]:
    """Note the signals that ask to stop, in place of ending by them.

    Yields:
        What they have asked for; who waits for the ranks has to tell them.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        if number == signal.SIGTERM:
            stop.deadline_s = min(stop.deadline_s, time.monotonic() + _STOP_LIMIT_S)

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

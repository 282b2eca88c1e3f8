"""Read files in a process of their own, which a damaged file may crash or stop.

libhdf5 runs round in circles on some damaged files, and crashes on others; a file system that is
away answers no reading at all. Here each becomes an error, and the next file is read by a new
process. One process reads all files: starting one for each would cost more than all the reading.

Processor time tells the two apart: who computes for many seconds over what takes a millisecond
will never end, whatever else the machine does; who waits without computing may be waiting for a
file system, and that says nothing about the file. Who would compute if the machine let it waits for
no file system; nor does who is still starting, however long that takes.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from lamella.errors import DamagedFileError, LamellaError, StoreError
from lamella.stores.stored import MADE_ANEW

_Answer = TypeVar("_Answer")

_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}
)
# A reader that computes less than this share of the time is waiting for something.
_WAITING_SHARE = 0.01
# Long for what is killed to end even on a busy machine, short for who waits for a stage.
_END_S = 10
_PROGRAM = "from lamella.fleet.guard import serve; serve({descriptor}, {limit_s})"

# Killed, but held by the kernel until a file system answers; they are reaped when they have ended.
_held: list[subprocess.Popen[bytes]] = []


class GuardedReader(Generic[_Answer]):
    """Calls a function that reads files, in a process that is renewed when a file ends it.

    Args:
        read: Called with a path and what else ``read`` is given; importable by name. What it
            takes and returns must survive pickling.
        limit_s: Seconds of processor time after which a file is damaged, and seconds of waiting
            without any after which its file system is away.
    """

    def __init__(self, read: Callable[..., _Answer], limit_s: float) -> None:
        self._read = read
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop()

    def read(self, path: Path, *more: object) -> _Answer:
        """Return what the function returns for a file.

        Raises:
            DamagedFileError: its reading crashed or ran round in circles.
            StoreError: its reading waited for the file system for too long, or was killed.
            LamellaError: the function raised it.
        """
        if self._process is None:
            self._start(path)
        try:
            self._connection.send((path, *more))
            answer: _Answer
            answer, error = self._received(path)
        except (EOFError, ConnectionError) as lost:
            raise self._verdict(path) from lost
        if error is not None:
            raise error
        return answer

    def _start(self, path: Path) -> None:
        """Start the process that is to read a file, and wait until it can."""
        self._connection, theirs = Pipe()
        with theirs:
            program = _PROGRAM.format(descriptor=theirs.fileno(), limit_s=self._limit_s)
            self._process = subprocess.Popen(
                # -P: modules that lie in the working folder are none of ours.
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        try:
            self._connection.send(self._read)
            self._connection.recv()
        except (EOFError, ConnectionError) as lost:
            # Even a crash says nothing of the file here, which it has not seen.
            raise _lost(path, self._ended()) from lost

    def _received(self, path: Path) -> tuple[Any, LamellaError | None]:
        """Return answer and error, after any number of signs of life."""
        while True:
            self._await(path)
            received: tuple[Any, LamellaError | None] | None = self._connection.recv()
            if received is not None:
                return received

    def _await(self, path: Path) -> None:
        """Wait until the process says something, ends, or does neither nor computes."""
        assert self._process is not None
        _, before = _state_and_ticks(self._process.pid)
        least = max(1, round(_WAITING_SHARE * self._limit_s * os.sysconf("SC_CLK_TCK")))
        while not self._connection.poll(self._limit_s):
            state, now = _state_and_ticks(self._process.pid)
            if state != "R" and now - before < least:
                self._stop()
                raise StoreError(
                    f"it could not be read: no answer from its file system in {self._limit_s:g} s",
                    str(path),
                    "Nothing says that the file is damaged, and nothing was changed. Look whether "
                    "its file system is mounted and answers, or is slower than "
                    "`fleet.read_limit_s` allows, then run again",
                )
            before = now

    def _verdict(self, path: Path) -> StoreError:
        """Return what the end of the process says of the file that it read."""
        code = self._ended()
        if -code == signal.SIGPROF:
            return _damaged(
                path, f"reading it did not end in {self._limit_s:g} s of processor time"
            )
        if -code in _CRASHES:
            return _damaged(path, f"reading it crashed with {signal.Signals(-code).name}")
        return _lost(path, code)

    def _ended(self) -> int:
        """Return the exit code of a process that has let its end of the connection go."""
        assert self._process is not None
        code = self._process.wait()
        self._stop()
        return code

    def _stop(self) -> None:
        """End the process; one that the kernel holds until a file system answers is left to it."""
        _held[:] = [process for process in _held if process.poll() is None]
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            try:
                self._process.wait(timeout=_END_S)
            except subprocess.TimeoutExpired:
                _held.append(self._process)
            self._process = None


def _damaged(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"the file is damaged ({what})",
        str(path),
        MADE_ANEW,
    )


def _lost(path: Path, code: int) -> StoreError:
    return StoreError(
        f"the process that read it was lost (exit code {code})",
        str(path),
        "Look for its message above, or for out-of-memory kills, then run again; nothing was "
        "changed",
    )


def _state_and_ticks(pid: int) -> tuple[str, int]:
    """Return the state of a process, one letter, and its processor time in ticks of the clock."""
    text = Path(f"/proc/{pid}/stat").read_text()
    # proc(5): state, utime and stime are fields 3, 14 and 15; the second one ends in the last
    # parenthesis.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


# What follows runs in the reading process; elsewhere there is no parent to report to.
_parents: list[tuple[Connection, float]] = []


def serve(descriptor: int, limit_s: float) -> None:
    """Answer the questions of a ``GuardedReader`` until it is gone; a process does nothing else."""
    # Whoever interrupts the run lets the other end go, which ends this process too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Connection(descriptor) as connection, contextlib.suppress(EOFError):
        _parents.append((connection, limit_s))
        read = connection.recv()
        connection.send(None)
        while True:
            question = connection.recv()
            _grant(limit_s)
            connection.send(_answered(read, question))


def report_life() -> None:
    """Say that a long reading goes on; each part of it may take the whole limit."""
    for connection, limit_s in _parents:
        connection.send(None)
        _grant(limit_s)


def _answered(read: Callable[..., object], question: Any) -> tuple[object, LamellaError | None]:
    try:
        return read(*question), None
    except LamellaError as error:
        return None, error


def _grant(limit_s: float) -> None:
    """Let the kernel end this process after so much processor time from now.

    Nobody else can: libhdf5 comes back neither to Python nor to its signal handlers.
    """
    signal.setitimer(signal.ITIMER_PROF, limit_s)

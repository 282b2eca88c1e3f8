"""Processes that read a slide, into memory that they share with this one.

Threads would do, but for engines that Python drives operation by operation: they would take
Python's lock from each other at every step. A process has a lock of its own.
"""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from operator import methodcaller
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lamella.errors import LamellaError, WorkerLostError
from lamella.slides import reading_server
from lamella.slides.reading_server import Opening, shared_batches
from lamella.units import Level0Pixels


class ReadBatch(NamedTuple):
    """Patches of a slide.

    Attributes:
        patches: ``(n, patch_px, patch_px, 3)`` uint8, RGB; a view of the memory.
        times_ns: How long each of them took to read.
    """

    patches: NDArray[np.uint8]
    times_ns: list[int]


class ReadingProcesses:
    """Processes that each have the slide open for themselves; they end with the ``with``.

    Several threads may ask. A request goes to a process that is idle, or waits for one.

    Args:
        number: How many processes.
        batches: How many batches the memory holds.
        batch_size: Patches of a batch.
        patch_px: Edge length of a patch.

    Raises:
        WorkerLostError: by the ``with``, or whatever asks, where a process has ended.
    """

    def __init__(self, number: int, *, batches: int, batch_size: int, patch_px: int) -> None:
        self._number = number
        self._shape = (batches, batch_size, patch_px, patch_px, 3)
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._openings = itertools.count()
        # A list, for appending to it is atomic.
        self._cpu_ns: list[int] = []

    def __enter__(self) -> Self:
        # Not of /dev/shm, which is small in many containers.
        memory = os.memfd_create("lamella-patches")
        with ExitStack() as started:
            try:
                os.ftruncate(memory, math.prod(self._shape))
                self._batches = shared_batches(memory, self._shape)
                processes = [
                    started.enter_context(_started(memory, self._shape))
                    for _ in range(self._number)
                ]
            finally:
                os.close(memory)
            for process in processes:
                with _told_where_it_ended("slide reader"):
                    process.recv()
                self._idle.put(process)
            self._started = started.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._started.close()

    @property
    def cpu_ns(self) -> int:
        """CPU time of what was answered so far."""
        return sum(self._cpu_ns)

    def opening(self, file: Path) -> Opening:
        """Return a slide as it is asked for; each process opens it at its first request."""
        return Opening(file, next(self._openings))

    def read_overview_band(
        self, opening: Opening, cell_l0: Level0Pixels, rows: range
    ) -> NDArray[np.uint8]:
        """Return some rows of the overview; see ``SlideReader``."""
        band: NDArray[np.uint8] = self._ask(opening, "read_overview_band", cell_l0, rows)
        return band

    def read_batch(self, opening: Opening, number: int, corners_l0: NDArray[np.int64]) -> ReadBatch:
        """Read patches of level 0.

        Args:
            opening: The slide.
            number: Number of the batch: what was read as the one so many batches earlier as the
                memory holds is overwritten.
            corners_l0: ``(n, 2)`` top-left corners ``(x, y)`` in level-0 pixels, at most a batch.

        Raises:
            SlideUnreadableError: a patch cannot be decoded.
            ValueError: these are more than a batch.
        """
        if len(corners_l0) > self._batches.shape[1]:
            most = self._batches.shape[1]
            raise ValueError(f"{len(corners_l0)} patches are no batch of at most {most}")
        batch = number % len(self._batches)
        times_ns = self._ask(opening, "read_batch", batch, corners_l0)
        return ReadBatch(self._batches[batch, : len(corners_l0)], times_ns)

    def _ask(self, opening: Opening, what: str, *given: object) -> Any:
        process = self._idle.get()
        try:
            with _told_where_it_ended(str(opening.file)):
                process.send(methodcaller(what, opening, *given))
                answer, cpu_ns = process.recv()
        finally:
            self._idle.put(process)
        self._cpu_ns.append(cpu_ns)
        if isinstance(answer, LamellaError):
            raise answer
        return answer


@contextmanager
def _told_where_it_ended(where: str) -> Iterator[None]:
    try:
        yield
    # Of a message that breaks off the system tells an error of its own.
    except (EOFError, OSError) as error:
        raise WorkerLostError(
            "a process that reads slides has ended",
            where,
            "Its own error stands above; without one it was killed, mostly as memory ran out",
        ) from error


@contextmanager
def _started(memory: int, shape: tuple[int, ...]) -> Iterator[Connection]:
    """Start a process, and kill it in the end: it only reads."""
    ours, theirs = Pipe()
    handed = (theirs.fileno(), memory)
    # Without the current folder, where a module may have the name of one of Python's.
    program = [sys.executable, "-P", "-m", reading_server.__name__]
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*program, *map(str, (*handed, *shape))],
                stdin=subprocess.DEVNULL,
                pass_fds=handed,
                # A terminal sends Ctrl-C to its own group; this process ends with who asks it.
                process_group=0,
            )
        try:
            yield ours
        finally:
            process.kill()
            # Its time counts from now on among that of this process's children.
            process.wait()

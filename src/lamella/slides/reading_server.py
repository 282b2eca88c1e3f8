"""A process that reads a slide for another one: ``python -m lamella.slides.reading_server``.

``ReadingProcesses`` starts it, with the descriptors of a connection and of the memory that both
share, and with the lengths of that memory.
"""

import math
import mmap
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lamella.errors import LamellaError
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.units import Level0Pixels

READY = "ready"
"""What a process says when it can be asked."""


class Opening(NamedTuple):
    """A slide that is to be open; with another number it is opened anew."""

    file: Path
    number: int


class SlideServer:
    """Does what is asked for.

    Args:
        batches: ``(batches, patches, height, width, 3)`` uint8, the memory that is shared.
    """

    def __init__(self, batches: NDArray[np.uint8]) -> None:
        self._batches = batches
        self._opened: tuple[Opening, SlideReader] | None = None

    def read_overview_band(
        self, opening: Opening, cell_l0: Level0Pixels, rows: range
    ) -> NDArray[np.uint8]:
        """Return some rows of the overview; see ``SlideReader``."""
        return self._reader(opening).read_overview_band(cell_l0, rows)

    def read_batch(self, opening: Opening, batch: int, corners_l0: NDArray[np.int64]) -> list[int]:
        """Read patches of level 0 into the first places of a batch.

        Args:
            opening: The slide.
            batch: Which batch of the memory.
            corners_l0: ``(n, 2)`` top-left corners ``(x, y)`` in level-0 pixels.

        Returns:
            How long each patch took, in ns.
        """
        source = self._reader(opening).source
        times_ns = []
        patches = self._batches[batch, : len(corners_l0)]
        for patch, (x, y) in zip(patches, corners_l0.tolist(), strict=True):
            began_ns = time.perf_counter_ns()
            source.read_into(patch, x, y, 0)
            times_ns.append(time.perf_counter_ns() - began_ns)
        return times_ns

    def _reader(self, opening: Opening) -> SlideReader:
        if self._opened is not None:
            if self._opened[0] == opening:
                return self._opened[1]
            self._opened[1].source.close()
            self._opened = None
        reader = SlideReader(opening.file, DEFAULT_READING)
        self._opened = opening, reader
        return reader


Request = Callable[[SlideServer], Any]


def shared_batches(descriptor: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the memory behind a descriptor as an array; the descriptor may be closed then."""
    return np.frombuffer(mmap.mmap(descriptor, math.prod(shape)), dtype=np.uint8).reshape(shape)


def main() -> None:
    """Say that it is ready, and answer requests until nobody is there to ask."""
    connection, memory, *shape = map(int, sys.argv[1:])
    server = SlideServer(shared_batches(memory, tuple(shape)))
    with Connection(connection) as asked, suppress(EOFError, ConnectionError):
        asked.send(READY)
        last_ns = time.process_time_ns()
        while True:
            request: Request = asked.recv()
            try:
                answer = request(server)
            except LamellaError as error:
                answer = error
            now_ns = time.process_time_ns()
            asked.send((answer, now_ns - last_ns))
            last_ns = now_ns


if __name__ == "__main__":
    main()

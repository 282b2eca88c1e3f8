"""Reading the next batches while the present one is worked on."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, Self, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
Opened = TypeVar("Opened")


class ReadAhead(Generic[Key, Value]):
    """Gives ``read(key)`` for every key in order; threads read ahead of who asks.

    Each thread reads one value, and one more is ready: ``threads + 1`` are kept besides the one
    that was given last. An exception of ``read`` is raised where its value would have been given.

    Args:
        read: Called in the threads, by several at a time where there are several.
        keys: What is read, in this order.
        threads: How many; the values do not depend on it.
        pool: So many threads that are there already, and stay; else they are started.
    """

    def __init__(
        self,
        read: Callable[[Key], Value],
        keys: Iterable[Key],
        *,
        threads: int = 1,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self._read = read
        self._keys = keys
        self._threads = threads
        self._pool = pool
        self._waited_s = self._worked_s = 0.0

    @property
    def wait_share(self) -> float:
        """Share of the time so far in which who asked had to wait for a value, 0 to 1."""
        total_s = self._waited_s + self._worked_s
        return self._waited_s / total_s if total_s else 0.0

    def __iter__(self) -> Generator[Value, None, None]:
        """Yield the values; closing the generator waits for what threads are reading for it."""
        with ExitStack() as started:
            threads = self._pool or started.enter_context(read_ahead_threads(self._threads))
            waiting: deque[Future[Value]] = deque()
            started.callback(_give_up, waiting)
            for key in self._keys:
                waiting.append(threads.submit(self._read, key))
                if len(waiting) > self._threads + 1:
                    yield from self._timed(waiting.popleft())
            while waiting:
                yield from self._timed(waiting.popleft())

    def _timed(self, value: Future[Value]) -> Iterator[Value]:
        asked = time.monotonic()
        ready = value.result()
        given = time.monotonic()
        self._waited_s += given - asked
        yield ready
        self._worked_s += time.monotonic() - given


def _give_up(waiting: Iterable[Future[Value]]) -> None:
    """Wait for what is being read; what was not begun is not read any more."""
    wait([value for value in waiting if not value.cancel()])


def read_ahead_threads(number: int) -> ThreadPoolExecutor:
    """Return threads that read; leaving the ``with`` waits for them."""
    return ThreadPoolExecutor(number, thread_name_prefix="read-ahead")


class OfThread(Generic[Opened]):
    """Opens a file once for every thread that asks for it: a reader serves one at a time.

    Args:
        opened: Opens it; what it returns is closed at the end of the ``with``, when no thread may
            read any more.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[Opened]]) -> None:
        self._opened = opened
        self._own = threading.local()
        self._all = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._all.close()

    def __call__(self) -> Opened:
        """Return the reader of this thread."""
        if not hasattr(self._own, "reader"):
            self._own.reader = self._all.enter_context(self._opened())
        reader: Opened = self._own.reader
        return reader

"""Reading the next batches while the present one is worked on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def read_ahead(
    read: Callable[[Key], Value], keys: Iterable[Key], *, depth: int = 2
) -> Iterator[Value]:
    """Yield ``read(key)`` for every key in order; one thread reads ``depth`` values ahead.

    An exception of ``read`` is raised where its value would have been yielded.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as thread:
        waiting: deque[Future[Value]] = deque()
        for key in keys:
            waiting.append(thread.submit(read, key))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

"""One process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, hold it, and let it go at the end.

    The system lets go of the lock of a process that dies, so a leftover file blocks nobody.

    Args:
        lock: Lock file; made, together with its folder, when absent.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Files appear under their final name complete, or not at all."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = ".unfinished-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    The temporary file is flushed to the disk before the rename, and removed when the block
    raises. Its name starts with a dot and holds host and process, so that two writers never
    share one and a leftover of a killed process is recognisable.

    Args:
        path: Final path; its folder is made when absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as torch, PIL and tifffile look at it.
    temporary = path.with_name(f".{path.stem}{_MARK}{_host()}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield the temporary files of this machine's dead processes in a folder.

    Args:
        folder: Looked through without its subfolders; may be absent.
    """
    mine = re.compile(rf"\..*{re.escape(_MARK + _host())}-(\d+)(\.[^.]*)?")
    for path in sorted(folder.glob(f".*{_MARK}*")):
        found = mine.fullmatch(path.name)
        if found and not Path("/proc", found[1]).exists():
            yield path


def remove_leftovers(folder: Path) -> None:
    """Remove the ``leftovers`` of a folder."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    return socket.gethostname()

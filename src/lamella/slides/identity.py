"""What makes a slide file this slide and no other, without reading all of it."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lamella.errors import SlideUnreadableError
from lamella.stores.json_files import digest

_BLOCK_BYTES = 4096
_BLOCKS = 16
_THREADS = 16


def slide_identity(path: Path) -> str:
    """Return a digest of a file's size and of blocks sampled evenly over it.

    The same on every disk and for files that no reader opens. Files of up to 64 KiB are read
    whole.

    Returns:
        64 hexadecimal digits.

    Raises:
        SlideUnreadableError: the file cannot be read, or is empty.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = path.stat().st_size
            state = hashlib.sha256(size.to_bytes(8, "little"))
            for start in _block_starts(size):
                file.seek(start)
                state.update(file.read(_BLOCK_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error
    if not size:
        raise SlideUnreadableError(
            "the file is empty", str(path), "Copy it anew, or remove its row"
        )
    return state.hexdigest()


def file_identity(path: Path) -> str:
    """Return a digest of all of a file, for small ones such as annotations.

    Raises:
        SlideUnreadableError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def file_size(path: Path) -> int:
    """Return the size of a file in bytes.

    Raises:
        SlideUnreadableError: the file is not there.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def files_state(paths: Iterable[Path]) -> str:
    """Return a digest of names, sizes and times of files, whether they are there or not.

    Cheap enough for planning: it tells that something may have changed, not what a file is.
    """
    return digest([_state(path) for path in paths])


def slide_identities(paths: Iterable[Path]) -> list[str | SlideUnreadableError]:
    """Return the identity of each file, or the error that kept it from being read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_identity_or_error, paths))


def content_identities(paths: Iterable[Path]) -> list[str | SlideUnreadableError]:
    """Return what is equal for slides of the same content, whatever their names are.

    Source:
        OpenSlide tells a MIRAX slide by its ``Slidedat.ini`` too: the ``.mrxs`` beside it holds
        none of its pixels and may be the same for all slides of an archive.
        https://openslide.org/formats/mirax/
    """
    return slide_identities(_telling_file(path) for path in paths)


def _telling_file(path: Path) -> Path:
    return path.with_suffix("") / "Slidedat.ini" if path.suffix.lower() == ".mrxs" else path


def _identity_or_error(path: Path) -> str | SlideUnreadableError:
    try:
        return slide_identity(path)
    except SlideUnreadableError as error:
        return error


def _block_starts(size: int) -> Iterable[int]:
    if size <= _BLOCKS * _BLOCK_BYTES:
        return range(0, size, _BLOCK_BYTES)
    return [block * (size - _BLOCK_BYTES) // (_BLOCKS - 1) for block in range(_BLOCKS)]


def _unreadable(path: Path, error: OSError) -> SlideUnreadableError:
    return SlideUnreadableError(
        f"the file cannot be read ({error.strerror})", str(path), "Check path and permissions"
    )


def _state(path: Path) -> tuple[str, int, int] | str:
    try:
        found = path.stat()
    except OSError:
        return str(path)
    return str(path), found.st_size, found.st_mtime_ns

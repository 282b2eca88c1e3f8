"""Copy a slide to the node's own disk while it is read."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lamella.errors import LamellaError
from lamella.fleet.scratch import worker_scratch

logger = logging.getLogger(__name__)

_SINGLE_FILES = {".svs", ".ndpi", ".scn", ".bif", ".tif", ".tiff", ".btf", ".jpg", ".jpeg", ".png"}
# Files of these names may belong to others beside them.
_SEVERAL_FILES = ".ome."


@contextmanager
def staged(slide: Path, *, limit_bytes: int) -> Iterator[Path]:
    """Yield a path from which the slide is best read: a copy of it, or the slide itself.

    The copy lies in the worker's scratch folder and is removed at the end, whatever happens.
    Formats of several files, slides above the limit and those for which there is no room are read
    where they are; that changes the speed and no result, so the log says it and nothing else.

    Args:
        slide: The slide.
        limit_bytes: Larger slides are not copied; 0: none is.
    """
    scratch = worker_scratch()
    if not limit_bytes or scratch is None:
        yield slide
        return
    with ExitStack() as until_read:
        copy = _copied(slide, scratch, limit_bytes, until_read)
        if copy is None:
            yield slide
            return
        try:
            yield copy
        except LamellaError as error:
            # Nobody else knows the copy.
            where = error.where.replace(str(copy), str(slide))
            raise type(error)(error.what, where, error.remedy) from error


def _copied(slide: Path, scratch: Path, limit_bytes: int, until_read: ExitStack) -> Path | None:
    try:
        reason = _reason_against(slide, scratch, limit_bytes)
        if reason is None:
            made = tempfile.TemporaryDirectory(prefix="slide-", dir=scratch)
            return shutil.copyfile(slide, Path(until_read.enter_context(made)) / slide.name)
    except OSError as error:
        reason = f"the copy failed: {error.strerror}"
        # Half of it may be there.
        until_read.close()
    logger.warning("%s is read where it is: %s", slide, reason)
    return None


def _reason_against(slide: Path, scratch: Path, limit_bytes: int) -> str | None:
    if slide.suffix.lower() not in _SINGLE_FILES or _SEVERAL_FILES in slide.name.lower():
        return "its format may have several files"
    size, free = slide.stat().st_size, shutil.disk_usage(scratch).free
    if size > limit_bytes:
        return f"it has {size / 2**30:.1f} GiB, and `fleet.stage_gib` is {limit_bytes / 2**30:g}"
    if size > free:
        return f"it has {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free in {scratch}"
    return None

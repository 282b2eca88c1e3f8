"""The TLS keys of a stage and its workers: a folder that ends with the stage."""

import fcntl
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from distributed.security import Security

logger = logging.getLogger(__name__)

_BEGIN = ".keys-"
_LOCK_NAME = ".lock"


@contextmanager
def stage_keys(folder: Path) -> Iterator[Security]:
    """Yield new keys: others on a cluster shall neither give work to the workers nor take it.

    What killed stages have left of theirs is removed.

    Args:
        folder: Where they lie, in a folder of their own: the nodes see it, and nobody but the user.
    """
    with (
        (folder / _LOCK_NAME).open("w+") as lock,
        _swept(folder, lock),
        tempfile.TemporaryDirectory(prefix=_BEGIN, dir=folder) as keys,
    ):
        yield _keys_in(Path(keys))


@contextmanager
def _swept(folder: Path, lock: IO[str]) -> Iterator[None]:
    """Remove keys of which no stage is left, and keep others from removing those that are made.

    Every stage holds the lock while it lives, and the system lets go of it for one that was killed.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("another stage uses %s: no old keys are looked for", folder)
    except OSError as error:
        logger.warning("old keys in %s are not looked for: %s", folder, error)
        yield
        return
    else:
        for left in folder.glob(f"{_BEGIN}*"):
            shutil.rmtree(left)
            logger.info("removed %s, which a killed stage has left", left)
    fcntl.flock(lock, fcntl.LOCK_SH)
    yield


def _keys_in(folder: Path) -> Security:
    made = Security.temporary()
    files = {"key": made.tls_client_key, "cert": made.tls_client_cert, "ca": made.tls_ca_file}
    for name, text in files.items():
        (folder / name).write_text(text)
    roles = ("client", "scheduler", "worker")
    keys = {f"tls_{role}_key": str(folder / "key") for role in roles}
    certificates = {f"tls_{role}_cert": str(folder / "cert") for role in roles}
    authority = str(folder / "ca")
    return Security(require_encryption=True, tls_ca_file=authority, **keys, **certificates)

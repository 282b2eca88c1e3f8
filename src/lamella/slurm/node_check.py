"""What a compute node is like: a job of ``lamella doctor`` runs this module on one.

python -m lamella.slurm.node_check OUTPUT [--scratch FOLDER] [--tracking URI] [--gpu]
    [--container IMAGE]
"""

import argparse
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from lamella.errors import SettingsError
from lamella.slurm.container import LOCK, check_environment
from lamella.stores.json_files import write_json

_ANSWER_LIMIT_S = 30


def main() -> None:
    """Write what this node says of itself into a JSON file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--tracking")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--container", type=Path)
    options = parser.parse_args()
    scratch = Path(os.path.expandvars(options.scratch or tempfile.gettempdir()))
    found = {
        "node": os.environ.get("SLURMD_NODENAME", os.uname().nodename),
        "openslide": _openslide(),
        "scratch": str(scratch),
        "scratch_free_gib": _free_gib(scratch),
        "submits": _submits(),
        "tracking": _reaches(options.tracking) if options.tracking else None,
        "gpu": _gpu() if options.gpu else None,
        "container": _fault_of(options.container) if options.container else None,
    }
    write_json(options.output, found)


def _openslide() -> str:
    import openslide

    return str(openslide.__library_version__)


def _free_gib(folder: Path) -> float | None:
    """Return the free space of a folder in GiB; ``None`` where nothing can be written there."""
    if "$" in str(folder):
        # A variable that this node does not have.
        return None
    try:
        with _made(folder), tempfile.TemporaryFile(dir=folder):
            return shutil.disk_usage(folder).free / 2**30
    except OSError:
        return None


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder that is missing, as jobs do, for the time of a block."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for each in missing:
            # A job may have begun to use it.
            with suppress(OSError):
                each.rmdir()


def _submits() -> bool:
    """Return whether a job could be submitted from here; none is."""
    if shutil.which("sbatch") is None:
        return False
    trial = ["sbatch", "--test-only", "--time=1", "--wrap=true"]
    ended = subprocess.run(trial, capture_output=True, timeout=_ANSWER_LIMIT_S, check=False)
    return ended.returncode == 0


def _reaches(uri: str) -> bool:
    """Return whether somebody listens at an address."""
    server = urlsplit(uri)
    port = server.port or (443 if server.scheme == "https" else 80)
    try:
        with socket.create_connection((server.hostname or "", port), timeout=_ANSWER_LIMIT_S):
            return True
    except OSError:
        return False


def _fault_of(image: Path) -> str:
    """Return why jobs could not run in an image here; nothing where they can."""
    try:
        check_environment(image, LOCK)
    except SettingsError as error:
        return error.what
    return ""


def _gpu() -> str | None:
    """Return the name of the GPU that torch sees; ``None`` without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


if __name__ == "__main__":
    main()

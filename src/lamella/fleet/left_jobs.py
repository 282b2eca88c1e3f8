"""Worker jobs that a killed stage has left in SLURM, told from all others by name and folder."""

import logging
import os
import re
import time
import uuid
from pathlib import Path

from lamella.slurm.commands import ask
from lamella.stores.json_files import digest

logger = logging.getLogger(__name__)

# A job on a node that does not answer ends only when SLURM gives the node up.
_LIMIT_S = 120.0
_OWN = re.compile(r"[0-9a-f]{8}")


def new_name(stage: str, manifest: Path) -> str:
    """Return what the worker jobs of a stage are called.

    Args:
        stage: Name of the stage.
        manifest: Where its results are listed. A stage with other results, as ``predict_slides``
            of another run, may be at work beside this one.

    Returns:
        ``lamella-<stage>-``, eight digits that stand for the manifest, and eight of its own.
    """
    return f"lamella-{stage}-{digest(str(manifest.resolve()))[:8]}{uuid.uuid4().hex[:8]}"


def read_left(answer: str, name: str, folder: Path) -> list[str]:
    """Return the numbers of the jobs of an earlier stage with the same results.

    Args:
        answer: Lines of number, name and working folder, which may hold the separator.
        name: What the jobs of the new stage are called.
        folder: Where the stage was started, then as now.
    """
    begin, found = name[:-8], []
    for line in answer.splitlines():
        number, other, place = line.split("|", maxsplit=2)
        is_same = other.startswith(begin) and _OWN.fullmatch(other.removeprefix(begin)) is not None
        if is_same and other != name and Path(place) == folder:
            found.append(number)
    return found


class LeftJobs:
    """What a killed stage has left: cancelled, for the new one does its slides again.

    Nothing submits jobs for results that another stage is making: Snakemake locks its folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._until: float | None = None
        self._cancelled: set[str] = set()

    def have_ended(self) -> bool:
        """Cancel those that are there, and return whether all are gone.

        Those that do not end in two minutes are waited for no longer.

        Raises:
            SlurmError: SLURM does not answer.
        """
        form = "%A|%j|%Z"
        answer = ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", form)
        left = read_left(answer, self._name, self._folder)
        self._cancel([number for number in left if number not in self._cancelled])
        if left and self._until is not None and time.monotonic() > self._until:
            logger.warning("SLURM jobs %s do not end, and are waited for no longer", " ".join(left))
            return True
        return not left

    def _cancel(self, numbers: list[str]) -> None:
        if not numbers:
            return
        logger.info(
            "cancelling worker jobs that this stage left when it was killed: %s",
            " ".join(numbers),
        )
        ask("scancel", "--quiet", *numbers)
        self._cancelled.update(numbers)
        self._until = self._until or time.monotonic() + _LIMIT_S

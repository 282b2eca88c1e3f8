"""Jobs of a workflow that SLURM still has after their Snakemake was killed.

::

    python -m lamella.slurm.left_behind             print the numbers of those of this folder
    python -m lamella.slurm.left_behind --cancel    cancel those of them that have not begun
"""

import argparse
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lamella.errors import LamellaError, SlurmError
from lamella.slurm.commands import ask

_RUN_NAME = re.compile(r"(?:[\w-]+_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What Snakemake calls all SLURM jobs of one run: a prefix that can be chosen, and a UUID."""


@dataclass(frozen=True)
class LeftJob:
    """A job of an earlier run.

    Attributes:
        number: Its number.
        has_begun: Whether it has nodes; one that waits, also for the second time, has none.
    """

    number: str
    has_begun: bool


def jobs_of(folder: Path) -> list[LeftJob]:
    """Return the jobs that Snakemake runs in a folder have in SLURM, waiting, running or ending.

    Args:
        folder: Where Snakemake was started.

    Returns:
        Those of this user, oldest first; empty when nothing was left behind.

    Raises:
        SlurmError: SLURM does not answer.
    """
    # The folder stands last: it may hold the separator.
    form = "%A|%T|%j|%Z"
    answer = ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", form)
    return read_jobs(answer, folder)


def read_jobs(answer: str, folder: Path) -> list[LeftJob]:
    """Return the jobs of a folder from lines of number, state, name and working folder."""
    found = {}
    for line in answer.splitlines():
        number, state, name, place = line.split("|", maxsplit=3)
        if _RUN_NAME.fullmatch(name) and Path(place) == folder:
            found[int(number)] = LeftJob(number, has_begun=state != "PENDING")
    return [found[number] for number in sorted(found)]


def cancel_waiting(jobs: list[LeftJob]) -> list[str]:
    """Cancel the jobs that have not begun, and return their numbers.

    What they would make, the new run makes; one that begins meanwhile is left to end.

    Raises:
        SlurmError: SLURM does not answer.
    """
    waiting = [job.number for job in jobs if not job.has_begun]
    if waiting:
        ask("scancel", "--state=PENDING", *waiting)
    return waiting


def refuse_jobs_left_in(folder: Path) -> None:
    """Raise when SLURM still has jobs of an earlier run of Snakemake in a folder.

    Raises:
        SlurmError: it has some, or does not answer.
    """
    numbers = " ".join(job.number for job in jobs_of(folder))
    if numbers:
        raise SlurmError(
            f"jobs of an earlier run are still in SLURM ({numbers}), and would be run twice",
            str(folder),
            "Start with scripts/run_workflow.sh, which waits for their end, or end them:"
            f" scancel {numbers}",
        )


def main() -> None:
    """Print or cancel the jobs of the folder that this is called in.

    Raises:
        SlurmError: SLURM does not answer.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cancel", action="store_true", help="cancel those that have not begun")
    options = parser.parse_args()
    jobs = jobs_of(Path.cwd())
    numbers = cancel_waiting(jobs) if options.cancel else [job.number for job in jobs]
    sys.stdout.write(" ".join(numbers) + "\n")


if __name__ == "__main__":
    try:
        main()
    except LamellaError as error:
        sys.exit(str(error))

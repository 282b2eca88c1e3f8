"""Snakemake's calls of SLURM, where the controller is away or takes no job for now."""

import os
import shutil
from pathlib import Path

_PROGRAMS = "LAMELLA_SLURM_PROGRAMS"


def have_submissions_wait(programs: Path) -> None:
    """Put Lamella's ``sbatch``, ``squeue`` and ``sacct`` before the real ones.

    That is so for this process and those that it starts. Snakemake calls them by their names: it
    takes a refused submission for a failed job, and waits for ever for one that SLURM holds.

    Args:
        programs: The folder ``scripts/slurm`` of the repository.
    """
    os.environ[_PROGRAMS] = str(programs)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"


def own_sbatch() -> str:
    """Return the site's own ``sbatch``, also below Snakemake: it says at once what it refuses.

    For a stage, which asks again by itself and has more to do meanwhile than to wait.
    """
    waiting = os.environ.get(_PROGRAMS)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(folder for folder in folders if folder != waiting)
    return shutil.which("sbatch", path=path) or "sbatch"

"""Snakemake's calls of SLURM, where the controller is away or takes no job for now."""

import os
from pathlib import Path


def have_submissions_wait(programs: Path) -> None:
    """Put Lamella's ``sbatch`` and ``sacct`` before the real ones, for this process and its own.

    Snakemake calls them by their names, and takes a refused submission for a failed job.

    Args:
        programs: The folder ``scripts/slurm`` of the repository.
    """
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

"""Snakemake's calls of SLURM, where the controller is away or takes no job for now."""

import os
from pathlib import Path


def have_submissions_wait(programs: Path) -> None:
    """Put Lamella's ``sbatch``, ``squeue`` and ``sacct`` before the real ones.

    That is so for this process and those that it starts. Snakemake calls them by their names: it
    takes a refused submission for a failed job, and waits for ever for one that SLURM holds.

    Args:
        programs: The folder ``scripts/slurm`` of the repository.
    """
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

"""Submissions that wait, where SLURM takes no job for now."""

import os
from pathlib import Path


def have_submissions_wait(programs: Path) -> None:
    """Put Lamella's ``sbatch`` before the real one, for this process and what it starts.

    Snakemake calls ``sbatch`` by its name, and takes a refused submission for a failed job.

    Args:
        programs: The folder ``scripts/slurm`` of the repository.
    """
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

"""Where and with what a job ran, as tags."""

import os
import socket
import subprocess
from pathlib import Path

import lamella


def provenance() -> dict[str, str]:
    """Return the tags of this process: version, git commit, host, SLURM job.

    What is not known here, such as the commit outside a git checkout, has no tag.
    """
    tags = {
        "lamella.version": lamella.__version__,
        "lamella.host": socket.gethostname(),
        "lamella.slurm_job_id": os.environ.get("SLURM_JOB_ID", ""),
        "mlflow.user": os.environ.get("USER", ""),
        "mlflow.source.name": "lamella",
        **_git_tags(Path.cwd()),
    }
    return {key: value for key, value in tags.items() if value}


def _git_tags(folder: Path) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "lamella.git_commit": commit,
        "lamella.git_changed": "true" if changed else "false",
        "mlflow.source.git.commit": commit,
    }


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

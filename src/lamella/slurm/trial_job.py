"""A short job that looks at a node for the doctor."""

import logging
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from lamella.errors import SlurmError
from lamella.slurm.commands import ask
from lamella.slurm.settings import SiteSettings
from lamella.stores.json_files import read_json

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_SECONDS_BETWEEN_LINES = 20.0
_FILE_LIMIT_S = 60.0
# Torch loads CUDA's libraries into the host's memory.
_NODE_CHECK_MIB = 1500
_GPU_CHECK_MIB = 4000
# States of a job that has not ended.
_UNFINISHED = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT"}


def run_on_node(
    site: SiteSettings, gpus: int, folder: Path, tracking: str | None, wait_s: float
) -> dict[str, Any]:
    """Run ``lamella.slurm.node_check`` in a job of its own, and return what it has found.

    Args:
        site: Where the job goes.
        gpus: GPUs that it asks for, 0 or 1.
        folder: Where its answer and its log go; on a file system that all nodes see.
        tracking: Address of the tracking server that the node should reach.
        wait_s: Seconds that it may wait in the queue.

    Raises:
        SlurmError: the job was refused, waited too long, or failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answer, log = folder / f"node-{gpus}.json", folder / f"node-{gpus}.log"
    answer.unlink(missing_ok=True)
    program = [sys.executable, "-m", "lamella.slurm.node_check", str(answer.absolute())]
    program += ["--scratch", str(site.scratch)] if site.scratch else []
    program += ["--tracking", tracking] if tracking else []
    program += ["--gpu"] if gpus else []
    program += ["--container", str(site.container.absolute())] if site.container else []
    job = ask(
        *("sbatch", "--parsable", "--job-name=lamella-doctor", "--time=5"),
        f"--mem={_GPU_CHECK_MIB if gpus else _NODE_CHECK_MIB}",
        *_options(site, gpus),
        f"--output={log.absolute()}",
        f"--wrap={shlex.join(program)}",
    )
    number = job.strip().partition(";")[0]
    _await_end(number, wait_s)
    return _answer(answer, log, number)


def _options(site: SiteSettings, gpus: int) -> list[str]:
    """Return the words of ``sbatch`` for what Snakemake's plugin calls by other names."""
    words = {"slurm_account": "account", "slurm_partition": "partition"}
    asked = site.resources(gpus).items()
    return [f"--{words.get(name, name)}={value}" for name, value in asked]


def _await_end(number: str, wait_s: float) -> None:
    """Wait until the queue knows a job no more; cancel one that does not start in time."""
    began = told = time.monotonic()
    while queued := _queued(number):
        state, reason = queued
        now = time.monotonic()
        if state == "PENDING" and now - began > wait_s:
            ask("scancel", number)
            raise SlurmError(
                f"it has not started in {wait_s:.0f} s ({reason}), and was cancelled",
                f"SLURM job {number}",
                "Wait longer with --wait, or choose another partition in config/site.yaml",
            )
        if now - told > _SECONDS_BETWEEN_LINES:
            logger.info("SLURM job %s is %s (%s)", number, state.lower(), reason)
            told = now
        time.sleep(_POLL_S)


def _queued(number: str) -> tuple[str, str] | None:
    """Return state and reason of a job that waits or runs; ``None`` when it has ended."""
    said = _ask_of_job("squeue", "--noheader", "--jobs", number, "-o", "%T|%r").strip()
    state, _, reason = said.partition("|")
    return (state, reason) if state in _UNFINISHED else None


def _answer(answer: Path, log: Path, number: str) -> dict[str, Any]:
    """Return what a job has written; a shared file system may show it late.

    Raises:
        SlurmError: the job has failed, or nothing is shown.
    """
    state = _last_state(number)
    until = time.monotonic() + _FILE_LIMIT_S
    while not answer.exists():
        # What a site prints into every log is no failure.
        has_failed = state not in {None, "COMPLETED"}
        said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        if time.monotonic() > until or (has_failed and said):
            ended = f"it ended as {state}" if has_failed else f"it left nothing in {answer.parent}"
            raise SlurmError(
                f"{ended} ({said[-1]})" if said else ended,
                f"SLURM job {number}",
                f"See {log}" if said else "Let folder and environment lie where all nodes see them",
            )
        time.sleep(_POLL_S)
    found: dict[str, Any] = read_json(answer)
    return found


def _last_state(number: str) -> str | None:
    """Return how a job has ended; ``None`` where SLURM has forgotten it already."""
    found = re.search(r"\bJobState=(\w+)", _ask_of_job("scontrol", "show", "job", "-o", number))
    return found[1] if found else None


def _ask_of_job(*command: str) -> str:
    """Return what SLURM says of a job; nothing where it has forgotten it."""
    try:
        return ask(*command)
    except SlurmError as error:
        if "Invalid job id" in error.what:
            return ""
        raise

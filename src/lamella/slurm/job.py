"""What SLURM says of the job that this process runs in, and asking it to start that job again."""

import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from lamella.errors import SlurmError
from lamella.slurm.commands import ask

_logger = logging.getLogger(__name__)

JOB_VARIABLE = "SLURM_JOB_ID"
"""SLURM names a job by it in all of the job's processes."""

ENDING = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "COMPLETING", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
}
"""States of a job that somebody has ended; others stand for RUNNING while a signal is given."""


@dataclass(frozen=True)
class Job:
    """A job, as SLURM sees it now.

    Attributes:
        number: Its number.
        node_list: Its nodes in SLURM's short form, such as ``node[1-2]``.
        cpus: Cores of all its nodes that belong to it.
        ends_s: When its time limit ends it, in seconds since 1970; ``None`` without a limit.
        is_running: Whether nobody has ended or cancelled it.
        may_requeue: Whether it is a batch job that SLURM may start again.
    """

    number: str
    node_list: str
    cpus: int
    ends_s: float | None
    is_running: bool
    may_requeue: bool


def in_job() -> bool:
    """Return whether this process belongs to a SLURM job."""
    return JOB_VARIABLE in os.environ


def can_be_asked() -> bool:
    """Return whether SLURM's own program is here: in a container it may not be."""
    return shutil.which("scontrol") is not None


def this_job() -> Job:
    """Return the job that this process belongs to; of an array, the task.

    Raises:
        SlurmError: SLURM does not answer, or not as is expected.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    # One task of an array bears the number by which all of them are meant.
    number = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ[JOB_VARIABLE]
    return read_job(number, ask("scontrol", "show", "job", "-o", number))


def read_job(number: str, answer: str) -> Job:
    """Return a job from what ``scontrol show job -o`` says of it.

    Raises:
        SlurmError: it speaks of no job, of several, or leaves something out.
    """
    facts = dict(re.findall(r"(?:^|\s)([A-Za-z]+)=(\S*)", answer))
    missing = {"EndTime", "TimeLimit", "NodeList", "NumCPUs", "JobState", "BatchFlag", "Requeue"}
    missing -= facts.keys()
    if missing or len(answer.strip().splitlines()) != 1:
        raise SlurmError(
            f"SLURM's answer is not that of one job ({answer.strip()[:80]!r})",
            f"SLURM job {number}",
            "Start the training in a job of its own, no part of a heterogeneous one",
        )
    end = facts["EndTime"]
    return Job(
        number=number,
        node_list=facts["NodeList"],
        cpus=int(facts["NumCPUs"]),
        ends_s=float(end) if end.isdigit() and facts["TimeLimit"] != "UNLIMITED" else None,
        is_running=facts["JobState"] not in ENDING,
        may_requeue=(facts["BatchFlag"], facts["Requeue"]) == ("1", "1"),
    )


def without_bindings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables without those by which a step would bind the ranks to its own cores.

    A job that was submitted from a step, or a launcher that runs in one, has them.
    """
    begin = ("SLURM_CPU_BIND", "SLURM_MEM_BIND", "SLURM_DISTRIBUTION")
    return {key: value for key, value in environment.items() if not key.startswith(begin)}


def hosts(node_list: str) -> list[str]:
    """Return the names of a list of nodes, one by one.

    Raises:
        SlurmError: SLURM does not answer.
    """
    return ask("scontrol", "show", "hostnames", node_list).split()


def requeue_this_job() -> None:
    """Have SLURM start this process's job again, unless somebody has decided otherwise.

    Nothing is done outside a job, in one that was cancelled or preempted, and in one that was not
    started by ``sbatch`` or with ``--no-requeue``.

    Raises:
        SlurmError: SLURM does not answer.
    """
    if not in_job():
        return
    job = this_job()
    if job.is_running and job.may_requeue:
        ask("scontrol", "requeue", job.number)
        _logger.info("SLURM job %s goes back to the queue, and goes on there", job.number)
    else:
        _logger.info(
            "SLURM job %s is not queued again: it %s",
            job.number,
            "may not be" if job.is_running else "is being ended",
        )

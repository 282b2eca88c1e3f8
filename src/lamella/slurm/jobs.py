"""What SLURM knows of jobs that have run: from its accounting, or from its controller's memory."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lamella.errors import SlurmError

ACCOUNTING_FIELDS = (
    *("JobID", "JobName", "State", "ExitCode", "Submit", "Start", "End", "ElapsedRaw"),
    *("TimelimitRaw", "NodeList", "NNodes", "AllocCPUS", "NTasks", "TotalCPU", "MaxRSS", "ReqMem"),
    *("AllocTRES", "WorkDir", "Comment"),
)
"""What is asked of ``sacct``, in this order; times as seconds since 1970, memory in KiB."""

_UNDER_WAY = {
    *("CONFIGURING", "COMPLETING", "PENDING", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING"),
    *("RUNNING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED"),
}

_KIB = {"K": 1.0, "M": 2.0**10, "G": 2.0**20, "T": 2.0**30}


class Source(StrEnum):
    """Who said it; each leaves out more than the one before."""

    ACCOUNTING = "sacct"
    CONTROLLER = "scontrol"
    TIMINGS = "timings"
    LOG = "log"
    NOBODY = ""


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job: a job that is queued again has several under one number.

    Attributes:
        number: The job's number.
        name: The job's name.
        comment: Its comment; empty where the accounting stores none.
        folder: Its working folder.
        state: How it stands or ended, SLURM's word; ``UNKNOWN`` where SLURM has forgotten it.
        ended_by: Number of the user who cancelled it; empty otherwise.
        exit_code: Exit code and signal of its script, such as ``1:0``.
        submitted_s: When it was queued, seconds since 1970.
        ended_s: When it ended, seconds since 1970; ``None``: not yet.
        wall_s: How long it ran; 0 where it never began.
        limit_s: Its time limit; ``None`` without one.
        nodes: Its nodes in SLURM's short form; empty where it never began.
        node_count: Number of nodes.
        cores: Cores that it had, on all nodes.
        cpu_s: Processor time used, all cores; ``None``: not known.
        max_rss_mib: Most memory seen on a node; ``None``: not known.
        asked_mib: Memory asked for on each node; ``None``: not known.
        gpus: GPUs that it had, on all nodes; ``None``: not known.
        source: Who says so.
        measured: Who says what it used: processor time and memory.
    """

    number: str
    name: str
    comment: str
    folder: str
    state: str
    ended_by: str
    exit_code: str
    submitted_s: float
    ended_s: float | None
    wall_s: float
    limit_s: float | None
    nodes: str
    node_count: int
    cores: int
    cpu_s: float | None
    max_rss_mib: float | None
    asked_mib: float | None
    gpus: int | None
    source: Source
    measured: Source

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state not in _UNDER_WAY

    @property
    def is_complete(self) -> bool:
        """Whether it has ended well."""
        return self.state == "COMPLETED"


@dataclass
class _Lines:
    """The line of a job's attempt and those of its steps."""

    job: Mapping[str, str]
    steps: list[Mapping[str, str]] = field(default_factory=list)


def read_accounting(answer: str, *, counts_gpus: bool) -> list[Attempt]:
    """Return the attempts that ``sacct --parsable2 --duplicates --units=K`` speaks of.

    Args:
        answer: Its answer with a header, of ``ACCOUNTING_FIELDS``.
        counts_gpus: Whether this site's accounting counts GPUs; where it does not, nobody knows
            how many a job had.

    Raises:
        SlurmError: it is something else.
    """
    try:
        found = [_accounted(lines.job, lines.steps) for lines in _grouped(_table(answer))]
    except ValueError as error:
        raise _not_understood("sacct", str(error)) from error
    return found if counts_gpus else [replace(each, gpus=each.gpus or None) for each in found]


def _table(answer: str) -> Iterator[Mapping[str, str]]:
    header, *lines = answer.splitlines() or [""]
    columns = header.split("|")
    if tuple(columns) != ACCOUNTING_FIELDS:
        raise ValueError(f"it begins with {header[:80]!r}")
    for line in lines:
        # The last field is the comment, which may hold the separator.
        yield dict(zip(columns, line.split("|", len(columns) - 1), strict=True))


def _grouped(rows: Iterator[Mapping[str, str]]) -> list[_Lines]:
    """Give every step to the attempt that it follows."""
    attempts: list[_Lines] = []
    for row in rows:
        if "." not in row["JobID"]:
            attempts.append(_Lines(row))
        elif attempts:
            attempts[-1].steps.append(row)
    return attempts


def _accounted(job: Mapping[str, str], steps: Sequence[Mapping[str, str]]) -> Attempt:
    nodes = int(job["NNodes"] or 0)
    asked = _mib(job["ReqMem"])
    wall_s = float(job["ElapsedRaw"] or 0)
    return Attempt(
        number=job["JobID"],
        name=job["JobName"],
        comment=job["Comment"],
        folder=job["WorkDir"],
        state=_state(job, steps),
        ended_by=job["State"].partition(" by ")[2],
        exit_code=job["ExitCode"],
        submitted_s=float(job["Submit"]),
        ended_s=_time_s(job["End"]),
        wall_s=wall_s,
        limit_s=_limit_s(job["TimelimitRaw"]),
        nodes=job["NodeList"].replace("None assigned", ""),
        node_count=nodes,
        cores=int(job["AllocCPUS"] or 0),
        # Without steps nothing was measured: 0 stands for unknown.
        cpu_s=duration_s(job["TotalCPU"]) if steps else None,
        max_rss_mib=_most_mib(steps),
        asked_mib=asked / max(nodes, 1) if asked is not None else None,
        gpus=gpus_of(job["AllocTRES"]),
        source=Source.ACCOUNTING,
        measured=Source.ACCOUNTING if steps else Source.NOBODY,
    )


def _state(job: Mapping[str, str], steps: Sequence[Mapping[str, str]]) -> str:
    """Return how a job ended; one whose step ran out of memory is itself only called FAILED."""
    state = job["State"].partition(" ")[0]
    if state == "FAILED" and any(step["State"] == "OUT_OF_MEMORY" for step in steps):
        return "OUT_OF_MEMORY"
    return state


def _most_mib(steps: Sequence[Mapping[str, str]]) -> float | None:
    """Return the memory of the batch step and of the largest step that ran beside it.

    SLURM keeps the most of one task; the tasks of a step are spread evenly over its nodes.
    """
    batch, largest = None, None
    for step in steps:
        rss = _mib(step["MaxRSS"])
        if rss is None:
            continue
        if step["JobID"].endswith(".batch"):
            batch = rss
        else:
            tasks, nodes = int(step["NTasks"] or 1), int(step["NNodes"] or 1)
            largest = max(largest or 0.0, rss * -(-tasks // nodes))
    known = [each for each in (batch, largest) if each is not None]
    return sum(known) if known else None


def read_controller(answer: str) -> list[Attempt]:
    """Return what ``scontrol show job -o`` says: recent jobs only, and nothing of what they used.

    Of a job that was queued again it knows the last attempt alone.

    Raises:
        SlurmError: it is something else.
    """
    lines = [line for line in answer.splitlines() if line.startswith("JobId=")]
    try:
        return [_controlled(controller_facts(line)) for line in lines]
    except (KeyError, ValueError) as error:
        raise _not_understood("scontrol show job", str(error)) from error


def controller_facts(line: str) -> dict[str, str]:
    """Return the keys and values of a line; a value may hold blanks."""
    found = re.findall(r"(?:^|(?<=\s))([A-Za-z][\w:/]*)=(.*?)(?=\s+[A-Za-z][\w:/]*=|\s*$)", line)
    return dict(found)


def _controlled(facts: Mapping[str, str]) -> Attempt:
    over = facts["JobState"] not in _UNDER_WAY
    return Attempt(
        number=facts["JobId"],
        name=facts["JobName"],
        comment=facts.get("Comment", ""),
        folder=facts["WorkDir"],
        state=facts["JobState"],
        ended_by="",
        exit_code=facts["ExitCode"],
        submitted_s=float(facts["SubmitTime"]),
        ended_s=_time_s(facts["EndTime"]) if over else None,
        wall_s=duration_s(facts["RunTime"]),
        limit_s=None if facts["TimeLimit"] == "UNLIMITED" else duration_s(facts["TimeLimit"]),
        nodes=facts["NodeList"].replace("(null)", ""),
        node_count=_count(facts["NumNodes"]),
        cores=_count(facts["NumCPUs"]),
        cpu_s=None,
        max_rss_mib=None,
        asked_mib=_mib(facts["MinMemoryNode"]) if "MinMemoryNode" in facts else None,
        gpus=gpus_of(facts.get("TRES", "")) or _asked_gpus(facts),
        source=Source.CONTROLLER,
        measured=Source.NOBODY,
    )


def _asked_gpus(facts: Mapping[str, str]) -> int:
    """Return the GPUs that a job asked for: without accounting of them, all that is told."""
    nodes, tasks = _count(facts["NumNodes"]), _count(facts["NumTasks"])
    for key, count in (("TresPerJob", 1), ("TresPerNode", nodes), ("TresPerTask", tasks)):
        asked = re.search(r"gres[:/]gpu(?::[^:,=]+)??(?:[:=](\d+))?(?:,|$)", facts.get(key, ""))
        if asked is not None:
            return int(asked[1] or 1) * count
    return 0


def _count(text: str) -> int:
    """Return a number, of a range such as ``1-4`` its begin; of none, as ``N/A``, 1."""
    least = text.partition("-")[0]
    return int(least) if least.isdigit() else 1


def duration_s(text: str) -> float:
    """Return the seconds of SLURM's ``[[days-]hours:]minutes:seconds[.fraction]``."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = 60 * seconds + float(part)
    return 86400 * int(days or 0) + seconds


def gpus_of(resources: str) -> int:
    """Return the number of GPUs in SLURM's list of trackable resources.

    A GPU with a type stands there twice, as ``gres/gpu=2`` and as ``gres/gpu:a100=2``.
    """
    counts = re.findall(r"(?:^|,)gres/gpu(:[^=,]+)?=(\d+)", resources)
    plain = [int(count) for kind, count in counts if not kind]
    return plain[0] if plain else sum(int(count) for _, count in counts)


def _not_understood(command: str, why: str) -> SlurmError:
    return SlurmError(
        f"SLURM's answer is not understood ({why})", command, f"Look whether `{command}` works here"
    )


def _time_s(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _limit_s(minutes: str) -> float | None:
    return 60.0 * int(minutes) if minutes.isdigit() else None


def _mib(text: str) -> float | None:
    """Return the MiB of a figure with SLURM's unit; ``None`` for none."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)[nc]?", text)
    if found is None:
        return None
    # Memory that is asked for is in MiB where it has no unit.
    return float(found[1]) * _KIB[found[2] or "M"] / 2**10

"""Why an attempt of a job failed, in one line."""

import pwd
import re
from enum import StrEnum
from pathlib import Path

from lamella.slurm.jobs import Attempt

_TAIL_BYTES = 65536


class Cause(StrEnum):
    """What SLURM has done to a job, in its own word but for the first."""

    HELD = "HELD"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"


_SIGNS = {
    # What scripts/slurm/squeue writes; first, for the node may have been lost before.
    Cause.HELD: r"was held by SLURM and is cancelled: ",
    Cause.OUT_OF_MEMORY: r"(?i:exceeded (?:(?:job |step )?memory limit|job memory)|oom[-_ ]kill)",
    Cause.TIMEOUT: r"DUE TO TIME LIMIT",
    Cause.NODE_FAIL: r"DUE TO NODE FAILURE",
    Cause.PREEMPTED: r"DUE TO PREEMPTION",
}
"""How the log of a job speaks of it.

Without cgroups SLURM calls a job that it killed for its memory FAILED; at the time limit the step
inside the job may end first, and the job is FAILED as well."""

_OWN_ERROR = re.compile(r"^(?:[\w.]*\.)?\w*(?:Error|Exception)(?: in [^:]*)?: (.+)$", re.MULTILINE)

MEANINGS = {
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "its deadline has passed",
    "HELD": "its nodes failed to start it, again and again",
    "NODE_FAIL": "a node was lost",
    "PREEMPTED": "ended for the sake of another job",
    "REQUEUED": "queued again",
    "UNKNOWN": "forgotten by SLURM, which has no accounting here",
}
"""What SLURM's words mean."""


def cause_of(state: str, said: str) -> Cause | None:
    """Return what SLURM has done to a job that failed.

    Args:
        state: How it ended, SLURM's word; empty where that is not known.
        said: What stands in its log.

    Returns:
        ``None`` where the job failed by itself, or as only SLURM's word tells.
    """
    if state in set(Cause) - {Cause.CANCELLED}:
        return Cause(state)
    # The log of one that was queued again is the next attempt's.
    if state in {"", "CANCELLED", "FAILED", "UNKNOWN"}:
        for cause, sign in _SIGNS.items():
            if re.search(sign, said):
                return cause
    # No text says so: SLURM has the same words for every job that it ends.
    return Cause.CANCELLED if state == Cause.CANCELLED else None


def reason_of(attempt: Attempt, log: Path | None) -> str:
    """Return why an attempt failed; empty for one that did not, or has not ended.

    Args:
        attempt: The attempt.
        log: What the job has said; ``None`` where there is no such file.
    """
    if attempt.is_complete or not attempt.is_over:
        return ""
    said = tail_of(log) if log is not None else ""
    cause = cause_of(attempt.state, said)
    if cause is Cause.OUT_OF_MEMORY:
        return "out of memory" + _of_asked(attempt)
    if cause is Cause.TIMEOUT:
        return "time limit" + (f" of {attempt.limit_s / 60:g} min" if attempt.limit_s else "")
    if cause is Cause.CANCELLED:
        return "cancelled" + (f" by {_user(attempt.ended_by)}" if attempt.ended_by else "")
    if cause is None and attempt.state == "FAILED":
        return _last_error(said) or _ending(attempt.exit_code)
    state = cause or attempt.state
    meaning = MEANINGS.get(state, state.lower().replace("_", " "))
    return f"{meaning} ({attempt.nodes})" if attempt.nodes else meaning


def _of_asked(attempt: Attempt) -> str:
    asked = f"{attempt.asked_mib:.0f} MiB asked for" if attempt.asked_mib is not None else ""
    seen = f"{attempt.max_rss_mib:.0f} MiB seen" if attempt.max_rss_mib is not None else ""
    told = ", ".join(filter(None, (asked, seen)))
    return f": {told}" if told else ""


def _last_error(said: str) -> str:
    """Return the job's own last word on an error; empty where it said none."""
    found = _OWN_ERROR.findall(said)
    return found[-1].strip() if found else ""


def _ending(exit_code: str) -> str:
    code, _, signal = exit_code.partition(":")
    if signal not in {"", "0"}:
        return f"ended by signal {signal}"
    return f"exit code {code}" if code != "0" else "failed"


def _user(number: str) -> str:
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (KeyError, ValueError):
        return f"user {number}"


def tail_of(log: Path) -> str:
    """Return the end of a log, in which a job's last words stand."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace")

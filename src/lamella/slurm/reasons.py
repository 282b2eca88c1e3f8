"""Why an attempt of a job failed, in one line."""

import pwd
import re
from pathlib import Path

from lamella.slurm.jobs import Attempt

_TAIL_BYTES = 65536

OVER_MEMORY = r"(?i:exceeded (?:job |step )?memory limit|oom[-_ ]kill|exceeded job memory)"
"""How the log of a job begins to speak of it, which SLURM without cgroups only calls FAILED."""

_OWN_ERROR = re.compile(r"^(?:[\w.]*\.)?\w*(?:Error|Exception)(?: in [^:]*)?: (.+)$", re.MULTILINE)

_STATES = {
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "its deadline has passed",
    "NODE_FAIL": "a node was lost",
    "PREEMPTED": "ended for the sake of another job",
    "REQUEUED": "queued again",
    "UNKNOWN": "forgotten by SLURM, which has no accounting here",
}
"""What SLURM's words mean."""


def reason_of(attempt: Attempt, log: Path | None) -> str:
    """Return why an attempt failed; empty for one that did not, or has not ended.

    Args:
        attempt: The attempt.
        log: What the job has said; ``None`` where there is no such file.
    """
    if attempt.is_complete or not attempt.is_over:
        return ""
    said = _tail(log) if log is not None else ""
    # Without control groups SLURM kills such a job itself and calls it FAILED.
    if attempt.state == "OUT_OF_MEMORY" or (
        attempt.state in {"FAILED", "UNKNOWN"} and re.search(OVER_MEMORY, said)
    ):
        return "out of memory" + _of_asked(attempt)
    if attempt.state == "TIMEOUT":
        return "time limit" + (f" of {attempt.limit_s / 60:g} min" if attempt.limit_s else "")
    if attempt.state == "CANCELLED":
        return "cancelled" + (f" by {_user(attempt.ended_by)}" if attempt.ended_by else "")
    if attempt.state == "FAILED":
        return _last_error(said) or _ending(attempt.exit_code)
    meaning = _STATES.get(attempt.state, attempt.state.lower().replace("_", " "))
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


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return stream.read().decode(errors="replace")

"""Why the jobs of a workflow failed, a line each, from what Snakemake and SLURM have written."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lamella.slurm.reasons import MEANINGS, Cause, cause_of

_BLOCK = re.compile(
    r"^(?:(?P<begun>(?:local)?rule )|Error in rule )(?P<rule>\w+):\n"
    # What stands before the number may be a message of several lines.
    r"(?P<text>(?:.*\n)*?    jobid: .*\n(?: +.*\n)*)"
    r"|^Finished jobid: (?P<finished>\d+)",
    re.MULTILINE,
)
_SHOWN_LOG = re.compile(r"^Logfile [^\n]+:\n(=+\n).*?^\1", re.MULTILINE | re.DOTALL)
"""A job's log, as it stands in Snakemake's own: that of a SLURM job is another Snakemake's."""

_FACT = re.compile(r"^ {4}(\w+): (.*)$", re.MULTILINE)
_ERROR_LINE = re.compile(r" ERROR lamella: (.+)$", re.MULTILINE)
_DEAD_RANK = re.compile(r"(?P<who>rank (?P<rank>\d+) of [^:]+): .+ Its last lines above say why;")

_CAUSES = {
    Cause.HELD: (
        MEANINGS["HELD"],
        "Start again; if it keeps on, have the cluster's staff look at results/logs/held.log",
    ),
    Cause.OUT_OF_MEMORY: (
        "out of memory, with mem_mb={mem_mb}",
        "Ask for more: --set-resources {rule}:mem_mb=…",
    ),
    Cause.TIMEOUT: (
        "time limit reached, with runtime={runtime}",
        "Ask for more minutes: --set-resources {rule}:runtime=…",
    ),
    Cause.NODE_FAIL: ("its node failed", "Start again"),
    Cause.PREEMPTED: ("preempted by another job", "Start again"),
    Cause.CANCELLED: ("cancelled by somebody", "Start again"),
}
"""What SLURM has done, in words, and what to do."""


@dataclass(frozen=True)
class FailedJob:
    """A job whose last attempt failed.

    Attributes:
        rule: Its rule.
        facts: What Snakemake has printed of it: wildcards, log files, resources.
        attempts: How often it was tried.
    """

    rule: str
    facts: Mapping[str, str]
    attempts: int


def failed_jobs(said: str) -> list[FailedJob]:
    """Return the jobs that have failed for good, from the text that Snakemake has logged."""
    begun: dict[str, dict[str, str]] = {}
    failed: dict[str, FailedJob] = {}
    for block in _BLOCK.finditer(_SHOWN_LOG.sub("", said)):
        if block["finished"]:
            failed.pop(block["finished"], None)
            continue
        facts = dict(_FACT.findall(block["text"]))
        job = facts.get("jobid", "")
        if block["begun"]:
            begun[job] = facts
            continue
        attempts = failed[job].attempts + 1 if job in failed else 1
        facts = {**begun.get(job, {}), **facts}
        failed[job] = FailedJob(block["rule"], facts, attempts)
    return list(failed.values())


def reasons_of(snakemake_log: Path) -> Iterator[str]:
    """Yield a line for every job that failed for good.

    Args:
        snakemake_log: The file that Snakemake has written in this run.
    """
    for job in failed_jobs(snakemake_log.read_text(errors="replace")):
        yield reason_of(job)


def reason_of(job: FailedJob) -> str:
    """Return where a job failed, of what, and what to do."""
    logs = _logs(job)
    what, remedy = _cause(job, logs)
    number = job.facts.get("external_jobid")
    slurm = f"SLURM job {number}, " if number else ""
    wildcards = ", ".join(_wildcards(job))
    where = " ".join(filter(None, (job.rule, wildcards)))
    tried = f"{slurm}attempt {job.attempts}"
    # The last is SLURM's where there is one.
    look = f" Log: {logs[-1]}" if logs else ""
    return f"{where} ({tried}): {what}. {remedy}.{look}"


def _cause(job: FailedJob, logs: list[Path]) -> tuple[str, str]:
    message = job.facts.get("message", "")
    refused = re.match(
        r"SLURM sbatch failed. The error message was '|Job submission failed", message
    )
    if refused:
        refusal = message[refused.end() :].removeprefix(" with exception: ").rstrip("'.")
        return f"SLURM did not take it ({refusal})", "Start again when it does"
    state = re.search(r"SLURM status is: '(\w+)", message)
    text = "".join(map(_text, logs))
    known = {"rule": job.rule, "mem_mb": "?", "runtime": "?", **_resources(job)}
    cause = cause_of(state[1] if state else "", text)
    if cause is not None:
        what, remedy = _CAUSES[cause]
        return what.format_map(known), remedy.format_map(known)
    # Only the rule's own: SLURM's ends with what Snakemake says.
    return _own_reason("".join(map(_text, logs[:1]))), "Start again when that is mended"


def _own_reason(text: str) -> str:
    """Return the error that a job has logged, else its last line.

    Of a rank it is the last that the rank has said.
    """
    errors = _ERROR_LINE.findall(text)
    dead = _DEAD_RANK.match(errors[-1]) if errors else None
    if dead:
        spoken = rf" lamella\.training\.launch: rank {dead['rank']}: (.*\S.*)$"
        words = re.findall(spoken, text, re.MULTILINE)
        if words:
            return f"{dead['who']}: {words[-1].rstrip('.')}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "it has logged nothing"
    last: str = errors[-1] if errors else lines[-1]
    return last.rstrip(".")


def _logs(job: FailedJob) -> list[Path]:
    names = job.facts.get("log", "").removesuffix(" (check log file(s) for error details)")
    return [Path(name) for name in names.split(", ") if name]


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.is_file() else ""


def _wildcards(job: FailedJob) -> list[str]:
    pairs = filter(None, job.facts.get("wildcards", "").split(", "))
    return [pair.partition("=")[2] for pair in pairs]


def _resources(job: FailedJob) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=([^,]+)", job.facts.get("resources", "")))

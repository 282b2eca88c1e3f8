"""What the jobs of a results folder cost, and why attempts failed: one table, kept and renewed."""

import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from lamella.errors import SlurmError
from lamella.slurm.commands import ask
from lamella.slurm.jobs import (
    ACCOUNTING_FIELDS,
    Attempt,
    Source,
    read_accounting,
    read_controller,
)
from lamella.slurm.reasons import reason_of
from lamella.stores.tables import Row, read_table, write_table

logger = logging.getLogger(__name__)

JOBS_TABLE = Path("jobs/jobs.tsv")
"""The table of all attempts, below the results folder."""

NAME_PREFIX = "lamella"
"""What the names of our jobs begin with: `slurm-jobname-prefix` of the profile."""

COLUMNS = (
    *("rule", "wildcards", "attempt", "job", "state", "reason", "nodes", "node_count", "cores"),
    *("gpus", "wall_s", "limit_s", "cpu_s", "cpu_efficiency", "max_rss_mib", "asked_mib"),
    *("node_hours", "core_hours", "gpu_hours", "submitted", "ended", "exit_code", "run"),
    *("source", "measured"),
)

_RULE = re.compile(r"rule_(.+?)(?:_wildcards_(.*))?")
_WORKER_NAME = re.compile(rf"{NAME_PREFIX}-(\w+)-[0-9a-f]{{8}}")
_WORKER = "worker"
_LOGS = Path("logs/slurm")
_SETTLING_S = 20
_BEFORE_LOG_S = 60
_TRUST = (Source.LOG, Source.CONTROLLER, Source.ACCOUNTING)
"""The sources, the one that knows most last."""


@dataclass(frozen=True)
class JobCost:
    """One attempt of one job of a rule, and what it cost.

    Attributes:
        rule: The rule; ``unknown`` where neither log nor comment tells it.
        wildcards: Values of its wildcards, joined by ``_``; ``worker`` for a worker of a stage.
        job: What SLURM knows of it.
        reason: Why it failed; empty otherwise.
        attempt: The how many-th try of this rule and these wildcards in one run, from 1.
    """

    rule: str
    wildcards: str
    job: Attempt
    reason: str = ""
    attempt: int = 1

    @property
    def is_worker(self) -> bool:
        """Whether it is a job of workers, which its stage ends when there is no more to do."""
        return self.wildcards == _WORKER

    @property
    def is_good(self) -> bool:
        """Whether it ended as it should."""
        return self.job.is_complete or (self.is_worker and self.job.state == "CANCELLED")

    @property
    def is_failed(self) -> bool:
        """Whether it has failed; one that has only gone back to the queue has not."""
        return bool(self.reason) and self.job.state != "REQUEUED"

    @property
    def node_hours(self) -> float:
        """Hours on the clock times nodes, whether it had them for itself or not."""
        return self.job.wall_s * self.job.node_count / 3600

    @property
    def core_hours(self) -> float:
        """Hours on the clock times cores."""
        return self.job.wall_s * self.job.cores / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours on the clock times GPUs."""
        return self.job.wall_s * self.job.gpus / 3600

    @property
    def cpu_efficiency(self) -> float | None:
        """Processor time used over that of its cores; above 1 where cores are not kept apart."""
        if self.job.cpu_s is None or not self.job.wall_s or not self.job.cores:
            return None
        return self.job.cpu_s / (self.job.wall_s * self.job.cores)


@dataclass(frozen=True)
class _Log:
    """A job's log, whose path tells its rule."""

    path: Path
    rule: str
    wildcards: str


def renew_costs(root: Path, since_s: float | None = None) -> list[JobCost]:
    """Ask SLURM about the jobs of a results folder, and write what they cost to its table.

    What SLURM has forgotten stays in the table as it was. Where no job was ever submitted, SLURM
    is not asked.

    Args:
        root: The results folder.
        since_s: Also jobs without a log that were there after this time, seconds since 1970.

    Returns:
        The table; empty where no job ever ran.
    """
    logs = _logs(root)
    begins = [log.path.stat().st_mtime - _BEFORE_LOG_S for log in logs.values()]
    begins += [since_s] if since_s is not None else []
    # Snakemake and the stages make this folder when they submit: without it nobody need be asked.
    if not begins or not (root / _LOGS).exists():
        return read_costs(root)
    found = _known_to_slurm(root, logs, min(begins))
    missing = logs.keys() - {attempt.number for attempt in found}
    found += [_forgotten(number, logs[number]) for number in sorted(missing)]
    fresh = _of_rules(_with_timings(found, logs, root), logs)
    costs = _numbered(_merged(read_costs(root), fresh))
    if costs:
        write_costs(root, costs)
    return costs


def read_costs(root: Path) -> list[JobCost]:
    """Return the table of a results folder; empty without one."""
    path = root / JOBS_TABLE
    return [_read_row(row) for row in read_table(path)] if path.exists() else []


def write_costs(root: Path, costs: Sequence[JobCost]) -> None:
    """Write the table of a results folder."""
    write_table(root / JOBS_TABLE, COLUMNS, map(_row, costs))


def write_costs_to(path: Path, costs: Sequence[JobCost]) -> None:
    """Write a table of some attempts elsewhere."""
    write_table(path, COLUMNS, map(_row, costs))


def _logs(root: Path) -> dict[str, _Log]:
    """Return the logs of Snakemake's jobs, and of workers, by the number of the job."""
    found = {}
    folder = root / _LOGS
    for path in sorted(folder.glob("rule_*/**/*.log")):
        rule, *wildcards = path.relative_to(folder).parent.parts
        found[path.stem] = _Log(path, rule.removeprefix("rule_"), "_".join(wildcards))
    for path in sorted(folder.glob("fleet/*/*.log")):
        found[path.stem] = _Log(path, path.parent.name, _WORKER)
    return found


def _known_to_slurm(root: Path, logs: Mapping[str, _Log], since_s: float) -> list[Attempt]:
    """Return what SLURM knows of our jobs; waits a little for those that are just ending."""
    deadline = time.monotonic() + _SETTLING_S
    while True:
        ours = [each for each in _asked(since_s) if _is_ours(each, root, logs)]
        if all(each.is_over for each in ours) or time.monotonic() > deadline:
            return ours
        time.sleep(1)


def _asked(since_s: float) -> list[Attempt]:
    """Return what the accounting knows; without one, what the controller remembers."""
    if shutil.which("scontrol") is None:
        return []
    since = datetime.fromtimestamp(since_s).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    words = ("--parsable2", "--duplicates", "--units=K", f"--starttime={since}")
    try:
        return read_accounting(ask("sacct", *words, f"--format={','.join(ACCOUNTING_FIELDS)}"))
    except SlurmError as error:
        logger.info("no accounting: %s Recent jobs only, by scontrol", _one_line(error))
    try:
        return read_controller(ask("scontrol", "show", "job", "-o"))
    except SlurmError as error:
        logger.warning("%s", _one_line(error))
        return []


def _one_line(error: SlurmError) -> str:
    return " ".join(str(error).split())


def _is_ours(attempt: Attempt, root: Path, logs: Mapping[str, _Log]) -> bool:
    if not attempt.name.startswith(NAME_PREFIX):
        return False
    # Numbers are given anew after years, and logs of a job that never began are missing.
    here = Path(attempt.folder).resolve() == root.resolve().parent
    return here or attempt.number in logs


def _forgotten(number: str, log: _Log) -> Attempt:
    """Return all that is known of a job that SLURM does not remember: that there was one."""
    return Attempt(
        number=number,
        name="",
        comment="",
        folder="",
        state="UNKNOWN",
        ended_by="",
        exit_code="",
        submitted_s=0.0,
        ended_s=log.path.stat().st_mtime,
        wall_s=0.0,
        limit_s=None,
        nodes="",
        node_count=0,
        cores=0,
        cpu_s=None,
        max_rss_mib=None,
        asked_mib=None,
        gpus=0,
        source=Source.LOG,
        measured=Source.NOBODY,
    )


def _with_timings(
    found: Sequence[Attempt], logs: Mapping[str, _Log], root: Path
) -> Iterator[Attempt]:
    """Fill in what Snakemake itself has measured of a rule's last job, which ended well."""
    measured = _timings(root)
    by_age = sorted(logs.items(), key=lambda item: item[1].path.stat().st_mtime)
    last = {(log.rule, log.wildcards): number for number, log in by_age}
    rows = {number: measured[key] for key, number in last.items() if key in measured}
    for attempt in found:
        row = rows.get(attempt.number)
        unmeasured = attempt.measured is Source.NOBODY
        yield _timed(attempt, row) if unmeasured and row is not None else attempt


def _timed(attempt: Attempt, row: Row) -> Attempt:
    if not (attempt.is_complete or attempt.state == "UNKNOWN"):
        return attempt
    return replace(
        attempt,
        state="COMPLETED",
        wall_s=attempt.wall_s or float(row["s"]),
        cpu_s=_number(row["cpu_time"]),
        max_rss_mib=_number(row["max_rss"]),
        measured=Source.TIMINGS,
    )


def _timings(root: Path) -> dict[tuple[str, str], Row]:
    """Return Snakemake's own measurements by rule and wildcards."""
    found = {}
    folder = root / "timings"
    for path in sorted(folder.rglob("*.tsv")):
        rule, *wildcards = path.relative_to(folder).with_suffix("").parts
        values = [re.sub(r"^seed(?=\d+$)", "", each) for each in wildcards]
        rows = read_table(path)
        if rows:
            found[rule, "_".join(values)] = rows[-1]
    return found


def _of_rules(found: Iterable[Attempt], logs: Mapping[str, _Log]) -> Iterator[JobCost]:
    for attempt in found:
        log = logs.get(attempt.number)
        rule, wildcards = (log.rule, log.wildcards) if log else _named(attempt)
        cost = JobCost(rule, wildcards, attempt)
        reason = "" if cost.is_good else reason_of(attempt, log.path if log else None)
        yield replace(cost, reason=reason)


def _named(attempt: Attempt) -> tuple[str, str]:
    """Return rule and wildcards of a job without a log."""
    worker = _WORKER_NAME.fullmatch(attempt.name)
    if worker:
        return worker[1], _WORKER
    rule = _RULE.fullmatch(attempt.comment)
    return (rule[1], rule[2] or "") if rule else ("unknown", "")


def _merged(known: Sequence[JobCost], fresh: Iterable[JobCost]) -> list[JobCost]:
    """Return for each number what the source says that knows most, of two equal the fresh one."""
    groups: dict[str, list[JobCost]] = {}
    for cost in known:
        groups.setdefault(cost.job.number, []).append(cost)
    renewed: dict[str, list[JobCost]] = {}
    for cost in fresh:
        renewed.setdefault(cost.job.number, []).append(cost)
    for number, costs in renewed.items():
        before = groups.get(number)
        if before is None or _trust(costs) >= _trust(before):
            groups[number] = costs
    return [cost for costs in groups.values() for cost in costs]


def _trust(costs: Sequence[JobCost]) -> int:
    return max(_TRUST.index(cost.job.source) for cost in costs)


def _numbered(costs: Sequence[JobCost]) -> list[JobCost]:
    """Return them in the order in which they were queued, with the number of the attempt."""
    tries: dict[tuple[str, str, str], int] = {}
    numbered = []
    for cost in sorted(costs, key=_order):
        key = (cost.job.name, cost.rule, cost.wildcards)
        # Workers come and go; each is a first attempt.
        tries[key] = 1 if cost.is_worker else tries.get(key, 0) + 1
        numbered.append(replace(cost, attempt=tries[key]))
    return numbered


def _order(cost: JobCost) -> tuple[float, int]:
    digits = re.match(r"\d+", cost.job.number)
    return cost.job.submitted_s or cost.job.ended_s or 0.0, int(digits[0]) if digits else 0


def _row(cost: JobCost) -> dict[str, object]:
    job = cost.job
    return {
        "rule": cost.rule,
        "wildcards": cost.wildcards,
        "attempt": cost.attempt,
        "job": job.number,
        "state": job.state,
        "reason": cost.reason,
        "nodes": job.nodes,
        "node_count": job.node_count,
        "cores": job.cores,
        "gpus": job.gpus,
        "wall_s": f"{job.wall_s:.0f}",
        "limit_s": _figure(job.limit_s, 0),
        "cpu_s": _figure(job.cpu_s, 1),
        "cpu_efficiency": _figure(cost.cpu_efficiency, 3),
        "max_rss_mib": _figure(job.max_rss_mib, 0),
        "asked_mib": _figure(job.asked_mib, 0),
        "node_hours": f"{cost.node_hours:.4f}",
        "core_hours": f"{cost.core_hours:.4f}",
        "gpu_hours": f"{cost.gpu_hours:.4f}",
        "submitted": _moment(job.submitted_s or None),
        "ended": _moment(job.ended_s),
        "exit_code": job.exit_code,
        "run": job.name,
        "source": job.source,
        "measured": job.measured,
    }


def _read_row(row: Row) -> JobCost:
    job = Attempt(
        number=row["job"],
        name=row["run"],
        comment="",
        folder="",
        state=row["state"],
        ended_by="",
        exit_code=row["exit_code"],
        submitted_s=_seconds(row["submitted"]) or 0.0,
        ended_s=_seconds(row["ended"]),
        wall_s=float(row["wall_s"]),
        limit_s=_number(row["limit_s"]),
        nodes=row["nodes"],
        node_count=int(row["node_count"]),
        cores=int(row["cores"]),
        cpu_s=_number(row["cpu_s"]),
        max_rss_mib=_number(row["max_rss_mib"]),
        asked_mib=_number(row["asked_mib"]),
        gpus=int(row["gpus"]),
        source=Source(row["source"]),
        measured=Source(row["measured"]),
    )
    return JobCost(row["rule"], row["wildcards"], job, row["reason"], int(row["attempt"]))


def _figure(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _number(text: str) -> float | None:
    # Snakemake writes NA where a job was too short to be looked at.
    return float(text) if text not in {"", "NA", "-"} else None


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _seconds(moment: str) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None

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
from lamella.slurm.cost_table import (
    JOBS_TABLE,
    WORKER,
    JobCost,
    known_number,
    read_costs,
    write_costs,
)
from lamella.slurm.jobs import (
    ACCOUNTING_FIELDS,
    Attempt,
    Source,
    read_accounting,
    read_controller,
)
from lamella.slurm.reasons import reason_of
from lamella.stores.tables import Row, read_table

logger = logging.getLogger(__name__)

NAME_PREFIX = "lamella"
"""What the names of our jobs begin with: `slurm-jobname-prefix` of the profile."""

_RULE = re.compile(r"rule_(.+?)(?:_wildcards_(.*))?")
_WORKER_NAME = re.compile(rf"{NAME_PREFIX}-(\w+)-(?:[0-9a-f]{{8}}){{1,2}}")
_LOGS = Path("logs/slurm")
_SETTLING_S = 20
_BEFORE_LOG_S = 60
_TRUST = (Source.LOG, Source.CONTROLLER, Source.ACCOUNTING)
"""The sources, the one that knows most last."""


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
        write_costs(root / JOBS_TABLE, costs)
    return costs


def _logs(root: Path) -> dict[str, _Log]:
    """Return the logs of Snakemake's jobs, and of workers, by the number of the job."""
    found = {}
    folder = root / _LOGS
    for path in sorted(folder.glob("rule_*/**/*.log")):
        rule, *wildcards = path.relative_to(folder).parent.parts
        found[path.stem] = _Log(path, rule.removeprefix("rule_"), "_".join(wildcards))
    for path in sorted(folder.glob("fleet/*/*.log")):
        found[path.stem] = _Log(path, path.parent.name, WORKER)
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
        said = ask("sacct", *words, f"--format={','.join(ACCOUNTING_FIELDS)}")
        return read_accounting(said, counts_gpus=_counts_gpus())
    except SlurmError as error:
        logger.info("no accounting: %s Recent jobs only, by scontrol", _one_line(error))
    try:
        return read_controller(ask("scontrol", "show", "job", "-o"))
    except SlurmError as error:
        logger.warning("%s", _one_line(error))
        return []


def _counts_gpus() -> bool:
    """Return whether the accounting counts GPUs, which a site has to ask it for."""
    try:
        settings = ask("scontrol", "show", "config")
    except SlurmError as error:
        logger.warning("%s Whether GPUs are counted is not known", _one_line(error))
        return False
    counted = re.search(r"^AccountingStorageTRES\s*=(.*)$", settings, re.MULTILINE)
    return counted is not None and "gres/gpu" in counted[1]


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
        gpus=None,
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
        cpu_s=known_number(row["cpu_time"]),
        max_rss_mib=known_number(row["max_rss"]),
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
        return worker[1], WORKER
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

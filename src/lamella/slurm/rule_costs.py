"""What the rules cost, and where they ask for far more, or less, than they use."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.slurm.cost_table import JobCost
from lamella.stores.tables import write_table, written

RULES_TABLE = Path("jobs/rules.tsv")
"""The table of the rules, below the results folder."""

FACTOR = 2.0
"""An ask that differs by more than this from the use is worth a hint."""

LEAST_LIMIT_MIN = 20
LEAST_MEMORY_MIB = 1000
LEAST_WALL_S = 60
"""Below, a job waits no shorter for asking less, and its start outweighs its work."""

COLUMNS = (
    *("rule", "jobs", "attempts", "failed", "wall_hours", "node_hours", "core_hours"),
    *("gpu_hours", "cpu_efficiency", "max_rss_mib", "asked_mib", "hints"),
)

_WORKERS = " (workers)"
_FLEET_STAGES = {"segment_tissue", "extract_patches", "predict_slides"}
_CORES = {
    **dict.fromkeys(_FLEET_STAGES, "`fleet.max_workers`"),
    "train_model": "`threads` of the run in `training.runs`",
    "check_parity": "`parity.threads`",
}
_MEMORY = dict.fromkeys(_FLEET_STAGES, "`fleet.worker_memory_mib`")

_WHOLE_NODE = {"benchmark_engine"}
"""Rules that want a node for themselves and leave most of it idle on purpose."""


@dataclass(frozen=True)
class RuleCost:
    """All attempts of a rule, and what is to be learned from them.

    Attributes:
        rule: The rule.
        costs: Its attempts, oldest first.
    """

    rule: str
    costs: Sequence[JobCost]

    @property
    def jobs(self) -> int:
        """Number of jobs; an attempt that SLURM itself began again is the same job."""
        return len({cost.job.number for cost in self.costs})

    @property
    def failed(self) -> int:
        """Number of attempts that failed."""
        return sum(cost.is_failed for cost in self.costs)

    @property
    def wall_hours(self) -> float:
        """Hours on the clock of all attempts."""
        return sum(cost.job.wall_s for cost in self.costs) / 3600

    @property
    def node_hours(self) -> float:
        """Hours on the clock times nodes."""
        return sum(cost.node_hours for cost in self.costs)

    @property
    def core_hours(self) -> float:
        """Hours on the clock times cores."""
        return sum(cost.core_hours for cost in self.costs)

    @property
    def gpu_hours(self) -> float | None:
        """Hours on the clock times GPUs, where their number is known; ``None``: nowhere."""
        return known_sum(cost.gpu_hours for cost in self.costs)

    @property
    def cpu_efficiency(self) -> float | None:
        """Processor time over that of the cores, where the former is known; ``None``: nowhere."""
        measured = [cost for cost in self.costs if cost.cpu_efficiency is not None]
        had_s = sum(cost.core_hours for cost in measured) * 3600
        used_s = sum(cost.job.cpu_s or 0.0 for cost in measured)
        return used_s / had_s if had_s else None

    @property
    def max_rss_mib(self) -> float | None:
        """Most memory seen on a node; ``None``: not known."""
        return _most(cost.job.max_rss_mib for cost in self.costs)

    @property
    def asked_mib(self) -> float | None:
        """Most memory asked for on a node; ``None``: not known."""
        return _most(cost.job.asked_mib for cost in self.costs)

    @property
    def hints(self) -> list[str]:
        """Where ask and use differ by more than ``FACTOR``, and what to change; the last run's."""
        last = [cost for cost in self.costs if cost.job.name == self.costs[-1].job.name]
        good = [cost for cost in last if cost.is_good]
        return [*_short(self.rule, last), *_differing(self.rule, good)]


def by_rule(costs: Sequence[JobCost]) -> list[RuleCost]:
    """Return the costs of every rule, in the order in which the rules began.

    Workers of a stage are apart from the job that has started them.
    """
    groups: dict[str, list[JobCost]] = {}
    for cost in costs:
        name = f"{cost.rule}{_WORKERS}" if cost.is_worker else cost.rule
        groups.setdefault(name, []).append(cost)
    return [RuleCost(rule, of_rule) for rule, of_rule in groups.items()]


def write_rule_costs(path: Path, rules: Sequence[RuleCost]) -> None:
    """Write one row per rule."""
    write_table(path, COLUMNS, map(_row, rules))


def cost_lines(costs: Sequence[JobCost]) -> Iterator[str]:
    """Yield what a person wants to know: a row per rule, failed attempts, hints."""
    rules = by_rule(costs)
    if not rules:
        yield "no SLURM job is known of these results"
        return
    width = max(len(rule.rule) for rule in rules)
    yield f"{'':{width}}  jobs  failed  node h  core h   GPU h  CPU used  memory used of asked"
    for rule in rules:
        yield (
            f"{rule.rule:{width}}  {rule.jobs:4}  {rule.failed:6}  {rule.node_hours:6.2f}"
            f"  {rule.core_hours:6.2f}  {_hours(rule.gpu_hours):>6}"
            f"  {_share(rule.cpu_efficiency):>8}  {_memory(rule)}"
        )
    for cost in costs:
        if cost.reason:
            yield f"{_name(cost)}, attempt {cost.attempt}, job {cost.job.number}: {cost.reason}"
    for rule in rules:
        for hint in rule.hints:
            yield f"{rule.rule}: {hint}"


def _short(rule: str, costs: Sequence[JobCost]) -> Iterator[str]:
    """Yield where attempts failed because too little was asked for."""
    for word, key, name in (
        ("out of memory", "mem_mb", "memory"),
        ("time limit", "runtime", "time"),
    ):
        failed = [cost for cost in costs if cost.reason.startswith(word)]
        if failed:
            where = _memory_setting(rule) if key == "mem_mb" else _resource(rule, "runtime")
            attempts = f"{len(failed)} attempt{'s' if len(failed) > 1 else ''}"
            yield f"{name}: {attempts} had too little; ask for more by {where}"


def _differing(rule: str, costs: Sequence[JobCost]) -> Iterator[str]:
    yield from _time(rule, costs)
    yield from _memory_hint(rule, costs)
    yield from _cores(rule, costs)


def _time(rule: str, costs: Sequence[JobCost]) -> Iterator[str]:
    limit, used = _most(cost.job.limit_s for cost in costs), _most(c.job.wall_s for c in costs)
    # Workers are there for as long as there is work.
    if limit is None or used is None or rule.endswith(_WORKERS):
        return
    if limit >= 60 * LEAST_LIMIT_MIN and limit > FACTOR * used:
        enough = max(5, math.ceil(1.5 * used / 60))
        yield (
            f"time: {limit / 60:.0f} min asked for, {used / 60:.1f} used at most;"
            f" {_resource(rule, 'runtime')}: {enough} would do"
        )


def _memory_hint(rule: str, costs: Sequence[JobCost]) -> Iterator[str]:
    asked, used = _most(c.job.asked_mib for c in costs), _most(c.job.max_rss_mib for c in costs)
    if asked is None or used is None:
        return
    where = _memory_setting(rule)
    if asked >= LEAST_MEMORY_MIB and asked > FACTOR * used:
        enough = max(500, 100 * math.ceil(1.3 * used / 100))
        # That of workers is for each of them, and which of them used how much is not known here.
        less = f"ask for less by {where}" if _has_workers(rule) else f"{where}: {enough} would do"
        yield f"memory: {asked:.0f} MiB asked for on a node, {used:.0f} used at most; {less}"
    elif used > FACTOR * asked:
        yield f"memory: {used:.0f} MiB used on a node, {asked:.0f} asked for; ask by {where}"


def _has_workers(rule: str) -> bool:
    return rule.removesuffix(_WORKERS) in _FLEET_STAGES


def _cores(rule: str, costs: Sequence[JobCost]) -> Iterator[str]:
    long = [c for c in costs if c.cpu_efficiency is not None and c.job.wall_s >= LEAST_WALL_S]
    if not long or rule in _WHOLE_NODE or rule.endswith(_WORKERS):
        return
    busiest = max(long, key=lambda cost: cost.cpu_efficiency or 0.0)
    share, cores = busiest.cpu_efficiency or 0.0, busiest.job.cores
    where = _CORES.get(rule, f"`set-threads: {rule}` of the profile")
    if cores > 1 and share * FACTOR < 1:
        yield (
            f"cores: {cores} asked for, {share * cores:.1f} busy on average;"
            f" {where}: {max(1, math.ceil(share * cores))} would do"
        )
    elif share > FACTOR:
        yield f"cores: {share * cores:.1f} busy on average, {cores} asked for; ask by {where}"


def _memory_setting(rule: str) -> str:
    stage = rule.removesuffix(_WORKERS)
    return _MEMORY.get(stage, _resource(stage, "mem_mb"))


def _resource(rule: str, name: str) -> str:
    return f"`set-resources: {rule}: {name}` of the profile"


def _row(rule: RuleCost) -> dict[str, object]:
    return {
        "rule": rule.rule,
        "jobs": rule.jobs,
        "attempts": len(rule.costs),
        "failed": rule.failed,
        "wall_hours": f"{rule.wall_hours:.4f}",
        "node_hours": f"{rule.node_hours:.4f}",
        "core_hours": f"{rule.core_hours:.4f}",
        "gpu_hours": written(rule.gpu_hours, ".4f"),
        "cpu_efficiency": written(rule.cpu_efficiency, ".3f"),
        "max_rss_mib": written(rule.max_rss_mib, ".0f"),
        "asked_mib": written(rule.asked_mib, ".0f"),
        "hints": "; ".join(rule.hints),
    }


def _most(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def known_sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; ``None`` where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _name(cost: JobCost) -> str:
    return f"{cost.rule} {cost.wildcards}".strip()


def _hours(hours: float | None) -> str:
    return written(hours, ".2f") or "–"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _memory(rule: RuleCost) -> str:
    if rule.asked_mib is None:
        return "–"
    used = "–" if rule.max_rss_mib is None else f"{rule.max_rss_mib:.0f}"
    return f"{used} of {rule.asked_mib:.0f} MiB"

"""Tell everybody what the jobs of a run cost: tables, page and tracked run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lamella.errors import TrackingError
from lamella.slurm.cost_table import JobCost, write_costs
from lamella.slurm.costs import renew_costs
from lamella.slurm.rule_costs import (
    RULES_TABLE,
    RuleCost,
    by_rule,
    cost_lines,
    known_sum,
    write_rule_costs,
)
from lamella.tracking.workflow import (
    add_to_workflow_run,
    begun_s,
    current_workflow_run,
    workflow_folder,
)

logger = logging.getLogger(__name__)


def tell_costs(root: Path) -> list[JobCost]:
    """Renew the tables of the jobs and the rules, and the page where there is one.

    Args:
        root: The results folder.

    Returns:
        All attempts of all jobs that are known; empty where no job ran on SLURM.
    """
    return _tell(root, None)


def tell_run_costs(root: Path) -> list[str]:
    """Do the same when a workflow run ends, and add what its jobs cost to its record.

    Call it before the record is closed and sent. A record that is damaged costs one warning.

    Returns:
        Lines about the jobs of this run; none where none ran on SLURM.
    """
    try:
        since_s = begun_s()
    except TrackingError as error:
        logger.warning("%s", error)
        since_s = None
    costs = _tell(root, since_s)
    if since_s is not None:
        costs = [cost for cost in costs if _is_since(cost, since_s)]
        _track(costs)
    return list(cost_lines(costs)) if costs else []


def _is_since(cost: JobCost, since_s: float) -> bool:
    # SLURM's times are whole seconds. Of a job that it has forgotten, the end is known.
    return (cost.job.submitted_s or cost.job.ended_s or 0.0) >= int(since_s)


def _tell(root: Path, since_s: float | None) -> list[JobCost]:
    # The workflow imports this module anew in every job; only its end draws.
    from lamella.report.jobs import PAGE, renew_jobs

    costs = renew_costs(root, since_s)
    if costs:
        write_rule_costs(root / RULES_TABLE, by_rule(costs))
        renew_jobs(root / PAGE, costs)
    return costs


def _track(costs: Sequence[JobCost]) -> None:
    """Add tables and figures of these attempts to the record of the current workflow run."""
    if not costs:
        return
    rules = by_rule(costs)
    folder = workflow_folder(current_workflow_run()["id"])
    write_costs(folder / "jobs.tsv", costs)
    write_rule_costs(folder / "rules.tsv", rules)
    add_to_workflow_run(_metrics(rules), ["jobs.tsv", "rules.tsv"])


def _metrics(rules: Sequence[RuleCost]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for rule in rules:
        name = f"jobs/{rule.rule.replace(' (workers)', ' workers')}"
        figures[f"{name}/node_hours"] = rule.node_hours
        figures[f"{name}/core_hours"] = rule.core_hours
        figures[f"{name}/failed_attempts"] = rule.failed
        if rule.cpu_efficiency is not None:
            figures[f"{name}/cpu_efficiency"] = rule.cpu_efficiency
        if rule.gpu_hours is not None:
            figures[f"{name}/gpu_hours"] = rule.gpu_hours
    for key in ("node_hours", "core_hours", "gpu_hours"):
        total = known_sum(getattr(rule, key) for rule in rules)
        if total is not None:
            figures[f"jobs/all/{key}"] = total
    return figures

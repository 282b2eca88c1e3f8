"""What each attempt of a job cost: the table that is kept of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lamella.slurm.jobs import Attempt, Source
from lamella.stores.tables import Row, read_table, write_table, written

JOBS_TABLE = Path("jobs/jobs.tsv")
"""The table of all attempts, below the results folder."""

COLUMNS = (
    *("rule", "wildcards", "attempt", "job", "state", "reason", "nodes", "node_count", "cores"),
    *("gpus", "wall_s", "limit_s", "cpu_s", "cpu_efficiency", "max_rss_mib", "asked_mib"),
    *("node_hours", "core_hours", "gpu_hours", "submitted", "ended", "exit_code", "run"),
    *("source", "measured"),
)

WORKER = "worker"
"""Stands for the wildcards of a job of workers."""


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
        return self.wildcards == WORKER

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
    def gpu_hours(self) -> float | None:
        """Hours on the clock times GPUs; ``None`` where their number is not known."""
        return None if self.job.gpus is None else self.job.wall_s * self.job.gpus / 3600

    @property
    def cpu_efficiency(self) -> float | None:
        """Processor time used over that of its cores; above 1 where cores are not kept apart."""
        if self.job.cpu_s is None or not self.job.wall_s or not self.job.cores:
            return None
        return self.job.cpu_s / (self.job.wall_s * self.job.cores)


def read_costs(root: Path) -> list[JobCost]:
    """Return the table of a results folder; empty without one."""
    path = root / JOBS_TABLE
    return [_read_row(row) for row in read_table(path)] if path.exists() else []


def write_costs(path: Path, costs: Sequence[JobCost]) -> None:
    """Write a table of attempts."""
    write_table(path, COLUMNS, map(_row, costs))


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
        "limit_s": written(job.limit_s, ".0f"),
        "cpu_s": written(job.cpu_s, ".1f"),
        "cpu_efficiency": written(cost.cpu_efficiency, ".3f"),
        "max_rss_mib": written(job.max_rss_mib, ".0f"),
        "asked_mib": written(job.asked_mib, ".0f"),
        "node_hours": f"{cost.node_hours:.4f}",
        "core_hours": f"{cost.core_hours:.4f}",
        "gpu_hours": written(cost.gpu_hours, ".4f"),
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
        limit_s=known_number(row["limit_s"]),
        nodes=row["nodes"],
        node_count=int(row["node_count"]),
        cores=int(row["cores"]),
        cpu_s=known_number(row["cpu_s"]),
        max_rss_mib=known_number(row["max_rss_mib"]),
        asked_mib=known_number(row["asked_mib"]),
        gpus=int(row["gpus"]) if row["gpus"] else None,
        source=Source(row["source"]),
        measured=Source(row["measured"]),
    )
    return JobCost(row["rule"], row["wildcards"], job, row["reason"], int(row["attempt"]))


def known_number(text: str) -> float | None:
    """Return what stands in a cell; ``None`` where it is not known."""
    # Snakemake writes NA where a job was too short to be looked at.
    return float(text) if text not in {"", "NA", "-"} else None


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _seconds(moment: str) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None

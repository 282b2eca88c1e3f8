"""Ask a cluster what Lamella wants to know of it, and write a first ``config/site.yaml``."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from lamella.errors import SlurmError
from lamella.slurm.cluster import Accounts, Partition, accounts, partitions
from lamella.slurm.settings import SiteSettings
from lamella.slurm.trial_job import run_on_node
from lamella.stores.atomic import write_text

_SHORT_LIMIT_MIN = 60


class State(StrEnum):
    """How a check has ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One question to the cluster.

    Attributes:
        name: What was asked.
        state: Whether the answer lets a study run.
        said: The answer.
        remedy: What to do about it; empty where all is well.
    """

    name: str
    state: State
    said: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.state:4}  {self.name}: {self.said}{remedy}"


@dataclass(frozen=True)
class Examination:
    """What a cluster has answered.

    Attributes:
        checks: All questions.
        site: The site that was asked about, or one made from the answers.
        partition: Where its jobs without GPUs go; ``None`` where there is none of that name.
    """

    checks: list[Check]
    site: SiteSettings
    partition: Partition | None


def examine(
    site: SiteSettings | None, *, folder: Path, tracking: str | None, wait_s: float
) -> Examination:
    """Ask the cluster, and run one short job in each partition that a study would use.

    Args:
        site: What is known already; ``None``: nothing, so that the cluster's defaults are taken.
        folder: Where the jobs' answers go; on a file system that all nodes see.
        tracking: Address of the tracking server, or ``None`` where none is asked for.
        wait_s: Seconds that a job may wait in the queue.

    Raises:
        SlurmError: this is no login node of a SLURM cluster.
    """
    known = partitions()
    checks = [_partition_check(partition) for partition in known]
    mine, said = _account()
    checks.append(said)
    site = site or _first_site(known, mine.default or next(iter(mine.names), None))
    checks += _names_checks(site, known, mine)
    checks += _limit_checks(site, known)
    if all(check.state is not State.FAIL for check in checks):
        for gpus in (0, 1) if site.gpu_partition is not None else (0,):
            checks += _job_checks(site, gpus=gpus, folder=folder, tracking=tracking, wait_s=wait_s)
    partition = next((each for each in known if each.name == site.partition), None)
    return Examination(checks, site, partition)


def _partition_check(partition: Partition) -> Check:
    said = f"{partition.nodes} nodes of {partition.cores} cores and {partition.memory_mib} MiB"
    said += ", no time limit" if partition.limit_min is None else f", {partition.limit_min} min"
    if partition.gpus:
        said += f", GPUs {', '.join(sorted(kind or 'of no name' for kind in partition.gpus))}"
    if partition.is_default:
        said += ", the default"
    name = f"partition {partition.name}"
    if not partition.is_up:
        return Check(name, State.WARN, f"{said}, takes no jobs now", "Ask the site")
    if partition.limit_min is not None and partition.limit_min < _SHORT_LIMIT_MIN:
        return Check(
            name,
            State.WARN,
            said,
            "Too short for most steps, whose `runtime` --set-resources can lower; trainings stop "
            "before it and go on",
        )
    return Check(name, State.OK, said)


def _account() -> tuple[Accounts, Check]:
    try:
        found = accounts()
    except SlurmError as error:
        what = " ".join(error.what.split())
        return Accounts(None, ()), Check(
            "accounts", State.WARN, f"the cluster keeps none ({what})", "Jobs name none"
        )
    if not found.names:
        return found, Check("accounts", State.WARN, "this user has none", "Ask the site for one")
    return found, Check("accounts", State.OK, ", ".join(found.names))


def _first_site(known: Sequence[Partition], account: str | None) -> SiteSettings:
    """Choose the cluster's own defaults, and what has GPUs apart from what has none."""
    ordered = sorted((each for each in known if each.is_up), key=lambda each: not each.is_default)
    having = [each for each in ordered if each.gpus]
    # A partition of all nodes serves both.
    chosen = ([each for each in ordered if not each.gpus] or ordered)[:1] + having[:1]
    limit_min = _limit_min(chosen)
    usual_min = SiteSettings().walltime_min
    return SiteSettings(
        account=account,
        partition=chosen[0].name if chosen else None,
        gpu_partition=having[0].name if having else None,
        limit_min=limit_min,
        walltime_min=min(usual_min, limit_min or usual_min),
    )


def _names_checks(
    site: SiteSettings, known: Sequence[Partition], mine: Accounts
) -> Iterator[Check]:
    """Yield the names of a site that its cluster does not know."""
    names = [partition.name for partition in known]
    if site.partition is None:
        yield Check("site.partition", State.FAIL, "no partition takes jobs", f"Known here: {names}")
    for setting in ("partition", "gpu_partition"):
        name = getattr(site, setting)
        if name is not None and name not in names:
            yield _unknown(setting, f"there is no partition {name!r}", names)
    # SLURM does not look at the case of accounts.
    folded = [name.casefold() for name in mine.names]
    if site.account is not None and folded and site.account.casefold() not in folded:
        yield _unknown("account", f"this user has no account {site.account!r}", mine.names)
    for partition in known:
        if partition.name == site.gpu_partition:
            yield from _gpu_names_checks(site, partition)


def _gpu_names_checks(site: SiteSettings, partition: Partition) -> Iterator[Check]:
    if not partition.gpus:
        said = f"partition {partition.name!r} has no GPUs"
        yield Check("site.gpu_partition", State.FAIL, said, "Name one that has, or none")
    elif site.gpu_type is not None and site.gpu_type not in partition.gpus:
        kinds = sorted(filter(None, partition.gpus)) or ["GPUs of no name"]
        said = f"partition {partition.name!r} has no GPU {site.gpu_type!r}"
        yield _unknown("gpu_type", said, kinds)


def _unknown(setting: str, said: str, known: Sequence[str]) -> Check:
    return Check(f"site.{setting}", State.FAIL, said, f"Known here: {', '.join(known)}")


def _limit_checks(site: SiteSettings, known: Sequence[Partition]) -> Iterator[Check]:
    """Yield the time limits of a site that are longer than those of its partitions.

    SLURM refuses jobs that ask for more, or lets them wait for ever.
    """
    limit_min = _limit_min([each for each in known if each.name in _chosen(site)])
    if limit_min is None:
        return
    remedy = f"Write {limit_min}, or jobs that ask for more may wait for ever"
    if site.limit_min is None or site.limit_min > limit_min:
        said = "not there" if site.limit_min is None else f"{site.limit_min}"
        shortest = f"{said}, but {limit_min} min is the most that a job may take here"
        yield Check("site.limit_min", State.WARN, shortest, remedy)
    if site.walltime_min > limit_min:
        said = f"{site.walltime_min}, but {limit_min} min is the most that a job may take here"
        yield Check("site.walltime_min", State.WARN, said, remedy)


def _limit_min(chosen: Sequence[Partition]) -> int | None:
    """Return the shortest of the partitions' limits in minutes; ``None`` where none has one."""
    return min((each.limit_min for each in chosen if each.limit_min is not None), default=None)


def _chosen(site: SiteSettings) -> set[str | None]:
    return {site.partition, site.gpu_partition}


def _job_checks(
    site: SiteSettings, *, gpus: int, folder: Path, tracking: str | None, wait_s: float
) -> Iterator[Check]:
    name = f"a job in {site.gpu_partition if gpus else site.partition}"
    try:
        found = run_on_node(site, gpus, folder, tracking, wait_s)
    except SlurmError as error:
        yield Check(name, State.FAIL, f"{error.where}: {error.what}", error.remedy)
        return
    yield Check(
        name,
        State.OK,
        f"ran on {found['node']}, sees this folder and the environment; OpenSlide"
        f" {found['openslide']}",
    )
    yield from _node_checks(found, gpus, tracking)


def _node_checks(found: dict[str, Any], gpus: int, tracking: str | None) -> Iterator[Check]:
    """Yield what a node has said of itself."""
    node, free_gib = found["node"], found["scratch_free_gib"]
    name = f"scratch on {node}"
    if free_gib is None:
        yield Check(
            name,
            State.FAIL,
            f"nothing can be written to {found['scratch']}",
            "Name a folder on the node's own disk in site.scratch",
        )
    else:
        yield Check(name, State.OK, f"{found['scratch']}, {free_gib:.1f} GiB free")
    if gpus and found["gpu"] is None:
        yield Check(
            f"GPU on {node}",
            State.FAIL,
            "torch sees none",
            "Look whether its driver is there: nvidia-smi",
        )
    elif gpus:
        yield Check(f"GPU on {node}", State.OK, found["gpu"])
    if fault := found["container"]:
        remedy = "Look whether it has Apptainer and sees the image"
        yield Check(f"container on {node}", State.FAIL, fault, remedy)
    elif fault is not None:
        yield Check(f"container on {node}", State.OK, "has this checkout's environment")
    if tracking is not None and not found["tracking"]:
        yield Check(
            f"tracking server from {node}",
            State.WARN,
            f"{tracking} does not answer",
            "Records stay beside the results; send them with `lamella sync-tracking`",
        )
    elif tracking is not None:
        yield Check(f"tracking server from {node}", State.OK, f"{tracking} answers")
    if not gpus:
        may = "may" if found["submits"] else "may not"
        yield Check(
            "submitting from nodes",
            State.OK if found["submits"] else State.WARN,
            f"{node} {may} submit jobs",
            "" if found["submits"] else "Start Snakemake on the login node",
        )


def write_site(path: Path, site: SiteSettings, workers_per_job: int) -> bool:
    """Write a site's file with a comment on every setting; one that is there stays as it is.

    Returns:
        Whether the file was written.
    """
    if path.exists():
        return False
    lines = ["# What this cluster is called; written by `lamella doctor --slurm`, yours to change."]
    lines.append("site:")
    for name, value in site.as_params().items():
        meaning = " ".join((SiteSettings.model_fields[name].description or "").split())
        lines.append(f"  # {meaning}")
        lines.append(f"  {_entry(name, value)}" if value is not None else f"  # {name}:")
    lines += [
        "fleet:",
        "  # The workers of a step over all slides are jobs of their own.",
        "  cluster: slurm",
        f"  workers_per_job: {workers_per_job}",
    ]
    write_text(path, "\n".join(lines) + "\n")
    return True


def _entry(name: str, value: object) -> str:
    """Return a line of YAML: an account may be called 0123, and a partition ``on``."""
    return yaml.safe_dump({name: value}, allow_unicode=True, width=math.inf).strip()

"""What a cluster offers: its partitions, and the accounts of a user."""

import getpass
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lamella.errors import SlurmError
from lamella.slurm.commands import ask
from lamella.slurm.jobs import duration_s


@dataclass(frozen=True)
class Partition:
    """A partition, as ``sinfo`` describes it.

    Attributes:
        name: Its name.
        is_default: Whether jobs go there that name none.
        is_up: Whether it takes jobs.
        nodes: How many nodes it has.
        cores: Cores of its smallest node.
        memory_mib: Memory of its smallest node.
        limit_min: Longest time limit of a job in minutes; ``None`` without a limit.
        gpus: Kinds of GPUs that its nodes have; ``""`` where they have no name.
    """

    name: str
    is_default: bool
    is_up: bool
    nodes: int
    cores: int
    memory_mib: int
    limit_min: int | None
    gpus: frozenset[str]


def partitions() -> list[Partition]:
    """Return the partitions of this cluster that this user may see.

    Raises:
        SlurmError: SLURM does not answer.
    """
    return read_partitions(ask("sinfo", "--noheader", "-o", "%P|%a|%D|%c|%m|%l|%G"))


def read_partitions(answer: str) -> list[Partition]:
    """Return partitions from ``sinfo -o %P|%a|%D|%c|%m|%l|%G``, a line per kind of node.

    Raises:
        SlurmError: a line is not as is expected.
    """
    found: dict[str, Partition] = {}
    for line in answer.splitlines():
        new = _partition(line)
        old = found.get(new.name)
        found[new.name] = _joined(old, new) if old else new
    return list(found.values())


def _partition(line: str) -> Partition:
    try:
        name, state, nodes, cores, memory, limit, gres = line.strip().split("|")
        return Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            is_up=state == "up",
            nodes=int(nodes),
            # A plus stands behind the smallest of several numbers.
            cores=int(cores.rstrip("+")),
            memory_mib=int(memory.rstrip("+")),
            limit_min=minutes(limit),
            gpus=_gpus(gres),
        )
    except ValueError as error:
        raise SlurmError(
            f"a line is not that of a partition ({line!r})",
            "sinfo",
            "Write config/site.yaml by hand; config/README.md lists its settings",
        ) from error


def _joined(old: Partition, new: Partition) -> Partition:
    return Partition(
        name=old.name,
        is_default=old.is_default,
        is_up=old.is_up,
        nodes=old.nodes + new.nodes,
        cores=min(old.cores, new.cores),
        memory_mib=min(old.memory_mib, new.memory_mib),
        limit_min=old.limit_min,
        gpus=old.gpus | new.gpus,
    )


def minutes(limit: str) -> int | None:
    """Return the minutes of a limit as ``days-hours:minutes:seconds``; ``None`` where endless."""
    if limit in {"infinite", "UNLIMITED", "n/a"}:
        return None
    return int(duration_s(limit)) // 60


def _gpus(gres: str) -> frozenset[str]:
    """Return the kinds in a list such as ``gpu:a100:4(S:0-1),nvme:1``."""
    found = re.findall(r"(?:^|,)gpu(?::([A-Za-z][\w.-]*))?(?=[:,(]|$)", gres)
    return frozenset(found)


@dataclass(frozen=True)
class Accounts:
    """What a user may charge.

    Attributes:
        default: The account of jobs that name none; ``None`` where there is none.
        names: All of them, the default one first.
    """

    default: str | None
    names: tuple[str, ...]


def accounts() -> Accounts:
    """Return the accounts of this user.

    Raises:
        SlurmError: the cluster keeps no accounts, or does not answer.
    """
    user = getpass.getuser()
    every = ("show", "associations", f"user={user}", "format=account")
    names = ask("sacctmgr", "--noheader", "--parsable2", *every)
    mine = ("show", "user", user, "format=defaultaccount")
    default = ask("sacctmgr", "--noheader", "--parsable2", *mine)
    return read_accounts(names.splitlines(), default.strip())


def read_accounts(names: Iterable[str], default: str) -> Accounts:
    """Return accounts from what ``sacctmgr`` lists; an account may stand there twice."""
    ordered = dict.fromkeys(filter(None, [default, *map(str.strip, names)]))
    return Accounts(default or None, tuple(ordered))

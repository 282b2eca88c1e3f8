"""The programs by which a site starts ranks: what each is told, and how to read what it says.

Each of them is watched over by ``lamella.training.step``.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lamella.errors import TrainingError
from lamella.slurm.settings import Launcher
from lamella.training.lifeline import PARENT_VARIABLE
from lamella.training.network import interface_of
from lamella.training.settings import Backend, TrainingSettings

_TAG = r"\[(?:\d+,)?(\d+)\]<std(?:out|err)>:"
_TAGGED = re.compile(rf"{_TAG} ?(.*?)(?={_TAG}|$)")
"""A rank's words, as ``mpirun --tag-output`` and ``horovodrun`` give them: several in a line, where
a rank has not ended its own."""

_LABELLED = re.compile(r"^\s*(\d+): ?(.*)$")
"""A rank's line, as ``srun --label`` gives it."""

_FIRST_TO_EXIT = (
    re.compile(r"\s*Process name: (?:\[\[\d+,\d+\],)?(?P<rank>\d+)\]?"),
    re.compile(r"\s*Exit code:\s+(?P<code>\d+)"),
)
"""What ``mpirun`` and ``horovodrun`` say of the first rank that ended badly."""


@dataclass(frozen=True)
class Order:
    """Which ranks shall be started where.

    Attributes:
        hosts: Names of the nodes, in the order of their ranks; the first is this one.
        each: Number of ranks on each node.
        threads: Cores of each rank.
        start_limit_s: Seconds that ranks have to find each other.
        address: Address by which the other nodes reach this one.
    """

    hosts: Sequence[str]
    each: int
    threads: int
    start_limit_s: int
    address: str

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.each * len(self.hosts)

    @property
    def slots(self) -> str:
        """Nodes and their numbers of ranks, as Open MPI and Horovod read them."""
        return ",".join(f"{host}:{self.each}" for host in self.hosts)


@dataclass(frozen=True)
class SiteLauncher:
    """A program that starts ranks.

    Attributes:
        name: What it is called.
        call: Returns its command line, given the names of variables that all ranks need.
        of_ranks: Finds number and words of ranks in a line that it prints.
        deaths: Find in lines that it prints of the first rank that ended badly ``rank``, ``node``,
            and what it died of: ``code``, ``signal`` (a number) or ``cause`` (in words).
        passes_signals: Whether it gives SIGUSR1 to the ranks; else it would end by it.
        takes_options: Whether the program that it starts may have options; else it would take them
            for its own.
        environment: Variables that it needs itself.
        for_ranks: Variables that ranks need which it has started.
    """

    name: Launcher
    call: Callable[[Order, Collection[str]], list[str]]
    of_ranks: re.Pattern[str]
    deaths: tuple[re.Pattern[str], ...]
    passes_signals: bool = True
    takes_options: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    for_ranks: Mapping[str, str] = field(default_factory=dict)

    def heard(self, line: str) -> Iterator[tuple[int, str]]:
        """Yield what ranks say in a line: their numbers and words."""
        for found in self.of_ranks.finditer(line):
            yield int(found[1]), found[2]


def site_launcher(name: Launcher, training: TrainingSettings) -> SiteLauncher:
    """Return a launcher that is here and can start the ranks of a training.

    Raises:
        TrainingError: it is not installed, is another one of its name, or starts no ranks of this
            backend.
    """
    where = f"site.launcher: {name}"
    if name is Launcher.HOROVODRUN and training.backend is not Backend.HOROVOD:
        raise TrainingError(
            f"horovodrun starts processes of backend horovod alone, not of {training.backend}",
            where,
            "Set training.backend: horovod, or another launcher",
        )
    remedy = f"{_REMEDIES[name]}, or set another launcher"
    if shutil.which(_program(name)) is None:
        raise TrainingError(f"{name} is not installed here", where, remedy)
    if name is Launcher.MPIRUN and not _is_open_mpi():
        raise TrainingError("the mpirun that is here is not that of Open MPI", where, remedy)
    return _LAUNCHERS[name]


_REMEDIES = {
    Launcher.SRUN: "Start it on a node of a SLURM cluster",
    Launcher.MPIRUN: "Install Open MPI or load its module, on all nodes",
    Launcher.HOROVODRUN: "Run `make setup`, which builds Horovod",
}


def _program(name: Launcher) -> str:
    """Return what is called: horovodrun is that of this environment, whatever the PATH."""
    of_environment = name is Launcher.HOROVODRUN
    return str(Path(sys.executable).parent / name.value) if of_environment else name.value


def _is_open_mpi() -> bool:
    said = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=False)
    return "Open MPI" in said.stdout


def _srun(order: Order, passed: Collection[str]) -> list[str]:
    """Return the call of ``srun``, which passes all variables on."""
    return [
        _program(Launcher.SRUN),
        *("--nodes", str(len(order.hosts)), "--nodelist", ",".join(order.hosts)),
        *("--ntasks", str(order.ranks)),
        *("--ntasks-per-node", str(order.each)),
        *("--distribution", "block"),
        *("--cpus-per-task", str(order.threads)),
        # The job's cores and memory, also where another of its steps has asked for all of them.
        *("--overlap", "--mem", "0"),
        *("--kill-on-bad-exit=1", "--export", "ALL", "--label", "--input", "none"),
        f"--immediate={order.start_limit_s}",
    ]


def _mpirun(order: Order, passed: Collection[str]) -> list[str]:
    """Return the call of Open MPI's ``mpirun``, which starts helpers by ``srun`` in a SLURM job."""
    return [
        _program(Launcher.MPIRUN),
        *("-np", str(order.ranks), "--host", order.slots),
        # One node after the other, also where the job counts its tasks otherwise.
        *("--map-by", "slot", "--oversubscribe"),
        # The threads of a rank shall have the job's cores, not one of them.
        *("--bind-to", "none", "--tag-output"),
        *(word for name in passed for word in ("-x", name)),
    ]


def _horovodrun(order: Order, passed: Collection[str]) -> list[str]:
    """Return the call of ``horovodrun``, which passes all variables on."""
    return [
        _program(Launcher.HOROVODRUN),
        *("--gloo", "-np", str(order.ranks), "-H", order.slots),
        *("--start-timeout", str(order.start_limit_s)),
        # Looking for one itself, it may take loopback.
        *("--network-interfaces", interface_of(order.address)),
    ]


# With srun a rank's parent is a part of SLURM, which ends it by itself.
_WITH_PARENT = {PARENT_VARIABLE: "1"}

_LAUNCHERS = {
    Launcher.SRUN: SiteLauncher(
        Launcher.SRUN,
        _srun,
        _LABELLED,
        (re.compile(r"srun: error: (?P<node>\S+): tasks? (?P<rank>\d+)\S*: (?P<cause>.+)"),),
    ),
    Launcher.MPIRUN: SiteLauncher(
        Launcher.MPIRUN,
        _mpirun,
        _TAGGED,
        (
            re.compile(
                r"mpirun noticed that process rank (?P<rank>\d+) with PID \d+ on node \S+"
                r" exited on signal (?P<signal>\d+)"
            ),
            *_FIRST_TO_EXIT,
        ),
        # For the `srun` that it calls: the job's cores, beside other steps.
        environment={"SLURM_OVERLAP": "1", "SLURM_WHOLE": "1", "SLURM_EXPORT_ENV": "ALL"},
        for_ranks=_WITH_PARENT,
    ),
    Launcher.HOROVODRUN: SiteLauncher(
        Launcher.HOROVODRUN,
        _horovodrun,
        _TAGGED,
        _FIRST_TO_EXIT,
        passes_signals=False,
        takes_options=False,
        for_ranks=_WITH_PARENT,
    ),
}

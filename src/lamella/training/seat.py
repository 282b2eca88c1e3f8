"""A rank takes its seat among the others, from what the program that started it has told it."""

import logging
import os
import sys

from lamella.errors import TrainingError
from lamella.slurm.settings import Launcher
from lamella.training.meeting_place import (
    EXCHANGE_LIMIT_VARIABLE,
    LISTENING_VARIABLE,
    START_LIMIT_VARIABLE,
    Numbers,
    meeting_address,
    network_variables,
    reserve_port,
)
from lamella.training.network import address_towards, interface_of
from lamella.training.settings import Backend, TrainingSettings

_logger = logging.getLogger(__name__)

STARTED_BY_VARIABLE = "LAMELLA_STARTED_BY"
"""Names the site's launcher to ranks that one has started."""

HOSTS_VARIABLE = "LAMELLA_HOSTS"
"""Names the nodes to such ranks, in the order of their ranks."""

STOPPED = "stopped"
"""What such a rank prints, and nothing else in the line, when it has stopped as it was asked to."""

PROCESS = "process "
"""What it prints before its process number where its launcher passes no signals on."""


def in_step() -> bool:
    """Return whether one of the site's launchers has started this process as a rank."""
    return STARTED_BY_VARIABLE in os.environ


def tell(text: str) -> None:
    """Print a line for the launcher."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def take_seat(training: TrainingSettings) -> None:
    """Put into the environment what a rank needs to find the others and is not there yet.

    A rank that ``lamella.training.launch``, ``horovodrun`` or ``torchrun`` has started finds its
    numbers there already. Call it before torch and Horovod are loaded.

    Raises:
        TrainingError: there is no network to the first node, or the ranks are not where they
            should be.
    """
    os.environ.setdefault(EXCHANGE_LIMIT_VARIABLE, str(training.exchange_limit_s))
    os.environ.setdefault(START_LIMIT_VARIABLE, str(training.start_limit_s))
    if not in_step():
        return
    launcher = Launcher(os.environ[STARTED_BY_VARIABLE])
    if launcher is Launcher.HOROVODRUN:
        tell(f"{PROCESS}{os.getpid()}")
        host, interface = os.environ["HOROVOD_HOSTNAME"], _interface(training)
        # It gives all ranks the name that the network has on the first node.
        os.environ["HOROVOD_GLOO_IFACE"] = interface
    else:
        of_srun = launcher is Launcher.SRUN
        numbers, host = _seat_of_srun() if of_srun else _seat_of_mpirun(training)
        interface = _take(numbers, host, training)
    # The launcher passes signals on when it has heard of all ranks.
    _logger.info("sits on %s, network %s", host, interface)


def _take(numbers: Numbers, host: str, training: TrainingSettings) -> str:
    """Put a rank's numbers and network into the environment, and return the network."""
    address, port = meeting_address(training.backend, dict(os.environ))
    interface = _interface(training)
    os.environ.update(numbers.variables(training.backend))
    os.environ.update(network_variables(training.backend, host, interface))
    if training.backend is Backend.TORCH and numbers.rank == 0:
        listening = reserve_port(address, port)
        listening.listen()
        # Torch closes it.
        os.environ[LISTENING_VARIABLE] = str(listening.detach())
    return interface


def _interface(training: TrainingSettings) -> str:
    """Return the network of this node that leads to where the ranks meet, unless one is named."""
    address, _ = meeting_address(training.backend, dict(os.environ))
    return training.network_interface or interface_of(address_towards(address))


def _seat_of_srun() -> tuple[Numbers, str]:
    """Return this rank's numbers, and the name of its node.

    Source:
        Output environment variables: man 1 srun.
    """
    size, nodes = (int(os.environ[f"SLURM_STEP_NUM_{what}"]) for what in ("TASKS", "NODES"))
    numbers = Numbers(
        rank=int(os.environ["SLURM_PROCID"]),
        size=size,
        local_rank=int(os.environ["SLURM_LOCALID"]),
        local_size=size // nodes,
        node=int(os.environ["SLURM_NODEID"]),
        nodes=nodes,
    )
    return numbers, os.environ["SLURMD_NODENAME"]


def _seat_of_mpirun(training: TrainingSettings) -> tuple[Numbers, str]:
    """Return this rank's numbers, and the name of its node, which Open MPI fills one by one.

    Raises:
        TrainingError: it has put more ranks on one node than on another.

    Source:
        Environment variables that Open MPI sets: https://www.open-mpi.org/faq/?category=running
    """
    rank, size, local_rank, local_size = (
        int(os.environ[f"OMPI_COMM_WORLD_{name}"])
        for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    )
    each = training.processes_per_node
    if (size, local_size, local_rank) != (training.processes, each, rank % each):
        raise TrainingError(
            f"mpirun has started rank {rank} of {size} as number {local_rank} of {local_size} on"
            f" its node, where {each} of {training.processes} should be",
            "site.launcher: mpirun",
            "Look for settings of Open MPI (OMPI_MCA_…) that place them, or set launcher: srun",
        )
    hosts = os.environ[HOSTS_VARIABLE].split(",")
    numbers = Numbers(rank, size, local_rank, local_size, rank // each, len(hosts))
    return numbers, hosts[numbers.node]

"""A rank under SLURM takes its seat among the others, from what ``srun`` tells it."""

import logging
import os

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

STEP_VARIABLE = "LAMELLA_SLURM_STEP"
"""Set by the launcher for ranks that ``srun`` starts."""

STOPPED = "stopped"
"""What such a rank prints, and nothing else in the line, when it has stopped as it was asked to."""


def in_step() -> bool:
    """Return whether ``srun`` has started this process as a rank."""
    return STEP_VARIABLE in os.environ


def take_seat(training: TrainingSettings) -> None:
    """Put into the environment what a rank needs to find the others and is not there yet.

    A rank that ``lamella.training.launch``, ``horovodrun`` or ``torchrun`` has started finds its
    numbers there already. Call it before torch and Horovod are loaded.

    Raises:
        TrainingError: there is no network to the first node.
    """
    os.environ.setdefault(EXCHANGE_LIMIT_VARIABLE, str(training.exchange_limit_s))
    os.environ.setdefault(START_LIMIT_VARIABLE, str(training.start_limit_s))
    if not in_step():
        return
    numbers, host = _numbers(), os.environ["SLURMD_NODENAME"]
    address, port = meeting_address(training.backend, dict(os.environ))
    interface = training.network_interface or interface_of(address_towards(address))
    os.environ.update(numbers.variables(training.backend))
    os.environ.update(network_variables(training.backend, os.environ["SLURMD_NODENAME"], interface))
    if training.backend is Backend.TORCH and numbers.rank == 0:
        listening = reserve_port(address, port)
        listening.listen()
        # Torch closes it.
        os.environ[LISTENING_VARIABLE] = str(listening.detach())
    # The launcher passes signals on when it has heard of all ranks.
    _logger.info("sits on %s, network %s", host, interface)


def _numbers() -> Numbers:
    """Return this rank's numbers.

    Source:
        Output environment variables: man 1 srun.
    """
    size, nodes = (int(os.environ[f"SLURM_STEP_NUM_{what}"]) for what in ("TASKS", "NODES"))
    return Numbers(
        rank=int(os.environ["SLURM_PROCID"]),
        size=size,
        local_rank=int(os.environ["SLURM_LOCALID"]),
        local_size=size // nodes,
        node=int(os.environ["SLURM_NODEID"]),
        nodes=nodes,
    )

"""Where the ranks of a group find each other.

Lamella starts the ranks itself (``lamella.training.launch``), without ``horovodrun``, ``torchrun``,
MPI and ssh: a rank needs only the variables that :func:`meeting_place` yields. Under SLURM the same
variables can be filled from ``SLURM_PROCID`` and its kind. Does not import torch: the launcher
stays small.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lamella.training.settings import Backend

EXCHANGE_LIMIT_VARIABLE = "LAMELLA_EXCHANGE_LIMIT_S"
START_LIMIT_VARIABLE = "LAMELLA_START_LIMIT_S"
LISTENING_VARIABLE = "LAMELLA_LISTENING"
"""Number of the open file at which rank 0 listens for the others."""


@dataclass(frozen=True)
class Seat:
    """What a rank needs to find the others.

    Attributes:
        variables: Environment variables besides those of the launcher.
        files: Numbers of the launcher's open files that the rank must inherit.
    """

    variables: dict[str, str]
    files: tuple[int, ...] = ()


@contextmanager
def meeting_place(
    backend: Backend, processes: int, *, start_limit_s: int, exchange_limit_s: int
) -> Iterator[list[Seat]]:
    """Open a place on this machine's loopback where ranks find each other.

    Args:
        backend: How the ranks exchange gradients.
        processes: Number of ranks.
        start_limit_s: Seconds that ranks wait for each other at the start.
        exchange_limit_s: Seconds that a rank waits for the others in an exchange.

    Yields:
        One seat per rank.
    """
    if backend is Backend.TORCH:
        place = _torch_meeting(processes)
    else:
        # Imported here: the other backend is for sites where Horovod cannot be built.
        from lamella.training.horovod_meeting import horovod_meeting

        place = horovod_meeting(processes, start_limit_s=start_limit_s)
    common = {
        EXCHANGE_LIMIT_VARIABLE: str(exchange_limit_s),
        START_LIMIT_VARIABLE: str(start_limit_s),
    }
    with place as seats:
        yield [Seat(common | seat.variables, seat.files) for seat in seats]


@contextmanager
def _torch_meeting(processes: int) -> Iterator[list[Seat]]:
    """Open the port of ``torch.distributed``'s store, which rank 0 serves; named as by torchrun.

    The port is opened here and handed over, so that no other program can take it in between.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(listening.getsockname()[1]),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        numbers = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        file = listening.fileno()
        first = Seat(common | numbers[0] | {LISTENING_VARIABLE: str(file)}, (file,))
        yield [first, *(Seat(common | number) for number in numbers[1:])]

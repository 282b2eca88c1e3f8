"""Where the ranks of a group find each other.

Lamella starts the ranks itself, without ``horovodrun``, ``torchrun``, MPI and ssh: a rank needs
only a few variables. On one node (``lamella.training.launch``) :func:`meeting_place` yields all of
them; on several (``lamella.training.launch_nodes``) :func:`meeting_of_nodes` yields those that are
equal for all ranks, and each rank adds its own from SLURM's (``lamella.training.seat``). Does not
import torch: the launcher stays small.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from lamella.training.settings import Backend

EXCHANGE_LIMIT_VARIABLE = "LAMELLA_EXCHANGE_LIMIT_S"
START_LIMIT_VARIABLE = "LAMELLA_START_LIMIT_S"
LISTENING_VARIABLE = "LAMELLA_LISTENING"
"""Number of the open file at which rank 0 listens for the others."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a rank among all ranks, and of its node among all nodes.

    Attributes:
        rank: Number of the rank, from 0.
        size: Number of ranks.
        local_rank: Number of the rank on its node, from 0.
        local_size: Number of ranks on each node.
        node: Number of its node, from 0.
        nodes: Number of nodes.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int = 0
    nodes: int = 1

    def variables(self, backend: Backend) -> dict[str, str]:
        """Return them under the names that ``horovodrun`` or ``torchrun`` use."""
        if backend is Backend.TORCH:
            return {
                "RANK": str(self.rank),
                "WORLD_SIZE": str(self.size),
                "LOCAL_RANK": str(self.local_rank),
                "LOCAL_WORLD_SIZE": str(self.local_size),
                "GROUP_RANK": str(self.node),
            }
        return {
            "HOROVOD_RANK": str(self.rank),
            "HOROVOD_SIZE": str(self.size),
            "HOROVOD_LOCAL_RANK": str(self.local_rank),
            "HOROVOD_LOCAL_SIZE": str(self.local_size),
            "HOROVOD_CROSS_RANK": str(self.node),
            "HOROVOD_CROSS_SIZE": str(self.nodes),
        }


def local_rank() -> int:
    """Return the number of this process among those of its node; 0 for a single one."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("HOROVOD_LOCAL_RANK", "0")))


@dataclass(frozen=True)
class Seat:
    """What a rank needs to find the others.

    Attributes:
        variables: Environment variables besides those of the launcher.
        files: Numbers of the launcher's open files that the rank must inherit.
    """

    variables: dict[str, str]
    files: tuple[int, ...] = ()


def network_variables(backend: Backend, host: str, interface: str) -> dict[str, str]:
    """Return what gloo must know of a rank's node.

    Args:
        backend: How the ranks exchange gradients.
        host: Name of the node; the same for all ranks on it, and for no other.
        interface: Network by which the others reach it.
    """
    if backend is Backend.TORCH:
        # NCCL takes the name as the beginning of several names unless it is told to be exact.
        return {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": f"={interface}"}
    return {"HOROVOD_HOSTNAME": host, "HOROVOD_GLOO_IFACE": interface}


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
    common = _limits(start_limit_s, exchange_limit_s)
    if backend is Backend.NONE:
        # One rank, that meets nobody: a training without a group, in a container.
        yield [Seat(common)]
        return
    common |= network_variables(backend, "localhost", "lo")
    with _place(backend, ["localhost"], processes, "127.0.0.1", start_limit_s) as (meeting, port):
        seats = []
        for rank in range(processes):
            numbers = Numbers(rank, processes, rank, processes).variables(backend)
            seats.append(Seat(common | meeting | numbers))
        if port is not None:
            # Handed over, so that no other program can take the port in between.
            port.listen()
            file = port.fileno()
            first = seats[0].variables | {LISTENING_VARIABLE: str(file)}
            seats[0] = Seat(first, (file,))
        yield seats


@contextmanager
def meeting_of_nodes(
    backend: Backend,
    hosts: Sequence[str],
    processes: int,
    *,
    address: str,
    start_limit_s: int,
    exchange_limit_s: int,
) -> Iterator[dict[str, str]]:
    """Open a place where the ranks of several nodes find each other.

    Args:
        backend: How the ranks exchange gradients.
        hosts: Names of the nodes; this process runs on the first.
        processes: Number of ranks, equally many on each node.
        address: Address by which the other nodes reach this one.
        start_limit_s: Seconds that ranks wait for each other at the start.
        exchange_limit_s: Seconds that a rank waits for the others in an exchange.

    Yields:
        The environment variables that are equal for all ranks.
    """
    slots = processes // len(hosts)
    with _place(backend, hosts, slots, address, start_limit_s) as (meeting, _):
        yield _limits(start_limit_s, exchange_limit_s) | meeting


def meeting_address(backend: Backend, variables: dict[str, str]) -> tuple[str, int]:
    """Return address and port of the place that a rank's variables name."""
    names = {
        Backend.TORCH: ("MASTER_ADDR", "MASTER_PORT"),
        Backend.HOROVOD: ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"),
    }
    address, port = names[backend]
    return variables[address], int(variables[port])


def reserve_port(address: str, port: int) -> socket.socket:
    """Return a socket that has a port, at which it does not listen yet.

    Other sockets can have the same port if they are made here and by the same user, and no others:
    the launcher keeps it for rank 0.

    Args:
        address: Address of this machine.
        port: The port; 0 for any that is free.

    Source:
        SO_REUSEPORT: man 7 socket.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((address, port))
    return reserved


def _limits(start_limit_s: int, exchange_limit_s: int) -> dict[str, str]:
    return {
        EXCHANGE_LIMIT_VARIABLE: str(exchange_limit_s),
        START_LIMIT_VARIABLE: str(start_limit_s),
    }


_Meeting = tuple[dict[str, str], socket.socket | None]
"""Variables that name the place, and the port that is kept for rank 0."""


def _place(
    backend: Backend, hosts: Sequence[str], slots: int, address: str, start_limit_s: int
) -> AbstractContextManager[_Meeting]:
    if backend is Backend.TORCH:
        return _torch_place(address)
    # Imported here: the other backend is for sites where Horovod cannot be built.
    from lamella.training.horovod_meeting import horovod_place

    return horovod_place(hosts, slots, address=address, start_limit_s=start_limit_s)


@contextmanager
def _torch_place(address: str) -> Iterator[_Meeting]:
    """Keep the port of ``torch.distributed``'s store, which rank 0 serves; named as by torchrun."""
    with reserve_port(address, 0) as port:
        number = str(port.getsockname()[1])
        yield {"MASTER_ADDR": address, "MASTER_PORT": number}, port

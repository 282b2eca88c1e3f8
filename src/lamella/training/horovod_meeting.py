"""Where the ranks of a Horovod group find each other; see ``lamella.training.meeting_place``."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

_CYCLE_MS = "25"
"""Milliseconds between two looks of Horovod at what is ready to be exchanged. Its own 1 ms takes
processor time from the network where every core computes: a step of 1 s took 0.2 s longer."""


def horovod_habits(start_limit_s: int) -> dict[str, str]:
    """Return variables that say how long ranks wait for each other, and how often they look."""
    return {
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(start_limit_s),
        "HOROVOD_CYCLE_TIME": os.environ.get("HOROVOD_CYCLE_TIME", _CYCLE_MS),
    }


@contextmanager
def horovod_place(
    hosts: Sequence[str], slots: int, *, address: str, start_limit_s: int
) -> Iterator[tuple[dict[str, str], None]]:
    """Open a server where ranks find each other.

    Args:
        hosts: Names of the nodes, in the order of their ranks.
        slots: Number of ranks on each node.
        address: Address of this machine at which the server listens.
        start_limit_s: Seconds that ranks wait for each other at the start.

    Yields:
        Variables that name the server to the ranks, and no port for rank 0.
    """
    # RendezvousServer itself would listen on every network of the machine.
    server = RendezvousHTTPServer((address, 0), RendezvousHandler, 0)
    named = ",".join(f"{host}:{slots}" for host in hosts)
    server.init(get_host_assignments(parse_hosts(named), slots * len(hosts)))
    thread = threading.Thread(target=server.serve_forever, name="rendezvous", daemon=True)
    thread.start()
    try:
        yield (
            {
                "HOROVOD_CONTROLLER": "gloo",
                "HOROVOD_CPU_OPERATIONS": "gloo",
                "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
                "HOROVOD_GLOO_RENDEZVOUS_PORT": str(server.server_address[1]),
                **horovod_habits(start_limit_s),
            },
            None,
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

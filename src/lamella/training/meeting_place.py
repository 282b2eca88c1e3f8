"""Where the ranks of a Horovod group find each other.

Lamella starts the ranks itself (``lamella.training.launch``), without ``horovodrun``, MPI and
ssh: a rank needs only the variables that :func:`meeting_place` yields. Under SLURM the same
variables can be filled from ``SLURM_PROCID`` and its kind. Does not import torch: the launcher
stays small.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

EXCHANGE_LIMIT_VARIABLE = "LAMELLA_EXCHANGE_LIMIT_S"


@contextmanager
def meeting_place(
    processes: int, *, start_limit_s: int, exchange_limit_s: int
) -> Iterator[list[dict[str, str]]]:
    """Open a server on this machine's loopback where ranks find each other.

    Args:
        processes: Number of ranks.
        start_limit_s: Seconds that ranks wait for each other at the start.
        exchange_limit_s: Seconds that a rank waits for the others in an exchange.

    Yields:
        Per rank the environment variables that it needs besides those of this process.
    """
    # RendezvousServer itself would listen on every network of the machine.
    server = RendezvousHTTPServer(("127.0.0.1", 0), RendezvousHandler, 0)
    server.init(get_host_assignments(parse_hosts(f"localhost:{processes}"), processes))
    thread = threading.Thread(target=server.serve_forever, name="rendezvous", daemon=True)
    thread.start()
    common = {
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_HOSTNAME": "localhost",
        "HOROVOD_GLOO_IFACE": "lo",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(server.server_address[1]),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(start_limit_s),
        EXCHANGE_LIMIT_VARIABLE: str(exchange_limit_s),
    }
    try:
        yield [common | _numbers(rank, processes) for rank in range(processes)]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _numbers(rank: int, processes: int) -> dict[str, str]:
    return {
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(processes),
        "HOROVOD_LOCAL_RANK": str(rank),
        "HOROVOD_LOCAL_SIZE": str(processes),
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
    }

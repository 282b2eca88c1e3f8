"""Where the ranks of a Horovod group find each other; see ``lamella.training.meeting_place``."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

from lamella.training.meeting_place import Seat


@contextmanager
def horovod_meeting(processes: int, *, start_limit_s: int) -> Iterator[list[Seat]]:
    """Open a server on this machine's loopback where ranks find each other.

    Args:
        processes: Number of ranks.
        start_limit_s: Seconds that ranks wait for each other at the start.

    Yields:
        One seat per rank.
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
    }
    try:
        yield [Seat(common | _numbers(rank, processes)) for rank in range(processes)]
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

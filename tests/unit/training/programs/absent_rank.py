"""Two ranks, the second late at the start; it stays away from the first exchange: BACKEND."""

import os
import sys
import time

from lamella.training.lifeline import end_with_launcher


def connect_late() -> None:
    """Have torch connect later than an exchange may take."""
    from torch import distributed

    connect = distributed.init_process_group

    def late(*args, **kwargs):
        time.sleep(2)
        connect(*args, **kwargs)

    distributed.init_process_group = late


if __name__ == "__main__":
    end_with_launcher()
    from lamella.training.settings import Backend
    from lamella.training.torch_group import join_torch_group

    # Horovod has a limit of its own for the start, and names its ranks in another way.
    if os.environ.get("RANK") == "1":
        connect_late()
    group = join_torch_group(Backend(sys.argv[1]))
    if group.rank == 1:
        time.sleep(600)
    group.gather(group.rank)

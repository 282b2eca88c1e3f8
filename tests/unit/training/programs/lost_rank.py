"""Ranks that exchange for ever; rank 1 is killed after its first exchange: BACKEND."""

import os
import signal
import sys

from lamella.training.lifeline import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()
    from lamella.training.settings import Backend
    from lamella.training.torch_group import join_torch_group

    group = join_torch_group(Backend(sys.argv[1]))
    while True:
        group.gather(group.rank)
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

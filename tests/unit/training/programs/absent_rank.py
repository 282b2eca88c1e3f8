"""Two ranks of which the second stays away from the first exchange: BACKEND."""

import sys
import time

from lamella.training.lifeline import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()
    from lamella.training.settings import Backend
    from lamella.training.torch_group import join_torch_group

    group = join_torch_group(Backend(sys.argv[1]))
    if group.rank == 1:
        time.sleep(600)
    group.gather(group.rank)

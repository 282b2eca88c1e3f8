"""Two ranks, the second with a loss that is no number; both say what they find: BACKEND."""

import sys

from lamella.training.lifeline import end_with_launcher

if __name__ == "__main__":
    end_with_launcher()
    from lamella.errors import TrainingError
    from lamella.training.finite import check_finite
    from lamella.training.settings import Backend
    from lamella.training.torch_group import join_torch_group

    group = join_torch_group(Backend(sys.argv[1]))
    check_finite(0.5, group, "epoch 2, step 2")
    try:
        check_finite((0.5, float("nan"))[group.rank], group, "epoch 2, step 3")
    except TrainingError as error:
        print(error)
    group.gather(group.rank)

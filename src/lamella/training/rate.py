"""The learning rate of every step."""

import math

from lamella.training.settings import Decay, RunSettings


def learning_rate(step: int, steps_per_epoch: int, run: RunSettings, *, processes: int) -> float:
    """Return the learning rate of a step: a line up to the highest, then what ``decay`` says.

    Args:
        step: Number of the step in the whole training, from 0.
        steps_per_epoch: Steps of an epoch.
        run: Highest rate, warm-up and decay.
        processes: Processes that train together.

    Source:
        Warm-up, and a rate that grows with the joined batch: Goyal et al., arXiv:1706.02677.
    """
    steps = run.epochs * steps_per_epoch
    warmup = int(steps * run.warmup_share)
    highest = run.learning_rate
    if run.scale_learning_rate:
        highest *= run.accumulate * processes
    if step < warmup:
        return highest * (step + 1) / warmup
    epochs = (step - warmup) / steps_per_epoch
    return highest * _decayed(run, (step - warmup) / (steps - warmup), epochs)


def _decayed(run: RunSettings, share: float, epochs: float) -> float:
    """Return what is left of the highest rate.

    Args:
        run: Kind of the decay.
        share: How much of the training after the warm-up is over, in ``[0, 1)``.
        epochs: Epochs since the warm-up.

    Source:
        Cosine: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983.
        Step: He et al., CVPR 2016, doi:10.1109/CVPR.2016.90.
    """
    match run.decay:
        case Decay.COSINE:
            return 0.5 * (1.0 + math.cos(math.pi * share))
        case Decay.EXPONENTIAL:
            return math.pow(run.decay_factor, epochs / run.decay_epochs)
        case Decay.STEP:
            # 3 × 0.2 epochs are 0.6 but for rounding: the third step is due then.
            return math.pow(run.decay_factor, math.floor(epochs / run.decay_epochs + 1e-9))
        case Decay.CONSTANT:
            return 1.0

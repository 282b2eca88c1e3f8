"""The optimiser, and the learning rate of every step."""

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from lamella.training.settings import Optimiser, RunSettings

_MOMENTUM = 0.9


def build_optimiser(network: nn.Module, run: RunSettings) -> Optimizer:
    """Return the optimiser of a run; biases and normalisation layers do not decay.

    Source:
        AdamW: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101.
        No decay of biases and normalisation: He et al., CVPR 2019, arXiv:1812.01187.
    """
    groups = [
        {"params": list(_weights(network, decay=True)), "weight_decay": run.weight_decay},
        {"params": list(_weights(network, decay=False)), "weight_decay": 0.0},
    ]
    if run.optimiser is Optimiser.SGD:
        return SGD(groups, lr=run.learning_rate, momentum=_MOMENTUM, nesterov=True)
    return AdamW(groups, lr=run.learning_rate)


def _weights(network: nn.Module, *, decay: bool) -> Iterable[nn.Parameter]:
    return (weight for weight in network.parameters() if (weight.ndim > 1) == decay)


def learning_rate(step: int, steps: int, *, highest: float, warmup_share: float) -> float:
    """Return the learning rate of a step: a line up to ``highest``, then a cosine down to 0.

    Args:
        step: Number of the step, from 0.
        steps: Steps of the whole training.
        highest: Rate at the end of the warm-up.
        warmup_share: Share of the steps in which the rate rises, in ``[0, 1)``.

    Source:
        Cosine: Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983.
        Warm-up: Goyal et al., arXiv:1706.02677.
    """
    warmup = int(steps * warmup_share)
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the rate of all weights."""
    for group in optimiser.param_groups:
        group["lr"] = rate

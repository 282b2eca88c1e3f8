"""The optimiser of a network of torch."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lamella.training.settings import Optimiser, RunSettings

_MOMENTUM = 0.9


def build_optimiser(network: nn.Module, run: RunSettings) -> Optimizer:
    """Return the optimiser of a run; biases and normalisation layers do not decay.

    Source:
        Adam: Kingma and Ba, ICLR 2015, arXiv:1412.6980.
        AdamW: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101.
        No decay of biases and normalisation: He et al., CVPR 2019, arXiv:1812.01187.
    """
    groups = [
        {"params": list(_weights(network, decay=True)), "weight_decay": run.weight_decay},
        {"params": list(_weights(network, decay=False)), "weight_decay": 0.0},
    ]
    if run.optimiser is Optimiser.SGD:
        return SGD(groups, lr=run.learning_rate, momentum=_MOMENTUM, nesterov=True)
    kind = AdamW if run.optimiser is Optimiser.ADAMW else Adam
    return kind(groups, lr=run.learning_rate)


def _weights(network: nn.Module, *, decay: bool) -> Iterable[nn.Parameter]:
    learning = (weight for weight in network.parameters() if weight.requires_grad)
    return (weight for weight in learning if (weight.ndim > 1) == decay)


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the rate of all weights."""
    for group in optimiser.param_groups:
        group["lr"] = rate

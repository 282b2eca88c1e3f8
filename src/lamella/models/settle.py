"""Random weights that answer like trained ones: neither all alike nor beyond all bounds."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_SPREAD = 1.0
_LAST = (nn.Linear, nn.Conv2d, nn.Conv3d)


def settle(network: nn.Module, images: Tensor) -> None:
    """Give a network with random weights the statistics of images, and logits that differ.

    Left as they are drawn, deep networks answer the same to everything, or beyond what 32 bits
    hold; either hides errors of an engine. The batch normalisation gets the statistics of the
    images, and the last layer is scaled until the logits of every class have mean 0 and standard
    deviation 1. The network is left in evaluation mode.

    Args:
        network: From images to logits ``(n, classes, …)``; its last layer is linear or a
            convolution.
        images: As the network takes them, a few.

    Raises:
        ValueError: the network answers the same to all of the images.
    """
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches: here, of one
    with torch.no_grad():
        network.train()(images)
        logits = network.eval()(images).movedim(1, 0).flatten(1)
        last = [each for each in network.modules() if isinstance(each, _LAST)][-1]
        deviations = logits.std(dim=1)
        if not (deviations > 0).all():
            raise ValueError("the images are all alike, or there is one alone")
        scale = _SPREAD / deviations
        last.weight *= scale.reshape(-1, *[1] * (last.weight.ndim - 1))
        last.bias *= scale
        last.bias -= logits.mean(dim=1) * scale

"""The gradients of a batch, in torch."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lamella.datasets.batches import Batch
from lamella.models.preprocess import Preprocessing
from lamella.training.torch_arithmetic import Arithmetic, Forward


def backward(
    forward: Forward,
    preprocessing: Preprocessing,
    batch: Batch,
    arithmetic: Arithmetic,
    *,
    ranks: int,
    parts: int = 1,
) -> float:
    """Add the gradients of a rank's batch to the parameters, part by part.

    The loss is weighted such that the mean of the gradients over the ranks is the gradient of the
    joint batch's mean loss, also where ranks or parts have unequal numbers of samples.

    Args:
        forward: From normalised images to logits, in training mode.
        preprocessing: From stored pixels to normalised images.
        batch: The rank's share of the joint batch.
        arithmetic: Where and in which numbers to compute.
        ranks: Number of ranks.
        parts: Parts of the batch that the network sees one after the other.

    Returns:
        The sum of the samples' losses.
    """
    total = 0.0
    images, labels = (np.array_split(each, parts) for each in (batch.images, batch.labels))
    for seen, truth in zip(images, labels, strict=True):
        pixels, target = (torch.from_numpy(each).to(arithmetic.device) for each in (seen, truth))
        with arithmetic.mixed():
            logits = forward(preprocessing(pixels))
        loss = cross_entropy(_precise(logits), target, reduction="sum")
        weighted = arithmetic.scaler.scale(loss * (ranks / batch.joint_size))
        weighted.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _precise(logits: Tensor) -> Tensor:
    """Return logits in float32 at least: the loss of one sample is below bfloat16's resolution."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))

"""The gradients of a batch, in torch."""

import numpy as np
import torch
from torch import Tensor

from lamella.datasets.batches import Batch
from lamella.datasets.settings import TargetKind
from lamella.models.preprocess import Preprocessing
from lamella.training.torch_arithmetic import Arithmetic, Forward
from lamella.training.torch_loss import sum_of_losses


def backward(
    forward: Forward,
    preprocessing: Preprocessing,
    batch: Batch,
    arithmetic: Arithmetic,
    *,
    ranks: int,
    parts: int = 1,
    kind: TargetKind = TargetKind.CLASSES,
) -> float:
    """Add the gradients of a rank's batch to the parameters, part by part.

    The loss is weighted such that the mean of the gradients over the ranks is the gradient of the
    joint batch's mean loss, also where ranks or parts have unequal numbers of samples.

    Args:
        forward: From normalised images to the outputs of the last layer, in training mode.
        preprocessing: From stored pixels to normalised images.
        batch: The rank's share of the joint batch.
        arithmetic: Where and in which numbers to compute.
        ranks: Number of ranks.
        parts: Parts of the batch that the network sees one after the other.
        kind: What is learned.

    Returns:
        The sum of the samples' losses.
    """
    total = 0.0
    images, targets = (np.array_split(each, parts) for each in (batch.images, batch.targets))
    for seen, truth in zip(images, targets, strict=True):
        pixels, target = (torch.from_numpy(each).to(arithmetic.device) for each in (seen, truth))
        with arithmetic.mixed():
            outputs = forward(preprocessing(pixels))
        loss = sum_of_losses(_precise(outputs), target, kind)
        weighted = arithmetic.scaler.scale(loss * (ranks / batch.joint_size))
        weighted.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _precise(outputs: Tensor) -> Tensor:
    """Return outputs in float32 at least: the loss of one sample is below bfloat16's resolution."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))

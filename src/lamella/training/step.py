"""One step of gradient descent, and the prediction of a whole split."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lamella.datasets.batches import Batch, evaluation_batches
from lamella.datasets.patches import PatchDataset
from lamella.errors import TrainingError
from lamella.models.networks import InferenceNetwork
from lamella.models.preprocess import Preprocessing
from lamella.training.arithmetic import Arithmetic, Learner
from lamella.training.group import Group, told

Probabilities = NDArray[np.float32]
"""Shape ``(n, classes)``; rows sum to 1."""


def backward(
    learner: Learner,
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
        learner: From normalised images to logits, in training mode.
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
            logits = learner(preprocessing(pixels))
        loss = cross_entropy(_precise(logits), target, reduction="sum")
        weighted = arithmetic.scaler.scale(loss * (ranks / batch.joint_size))
        weighted.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _precise(logits: Tensor) -> Tensor:
    """Return logits in float32 at least: the loss of one sample is below bfloat16's resolution."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_finite(loss: float, group: Group, where: str, *wishes: bool) -> list[bool]:
    """Check the losses of all ranks, on all ranks: none is left waiting for one that gave up.

    Args:
        loss: This rank's.
        group: The ranks.
        where: Epoch and step.
        wishes: What this rank would like to do after the step; they go in the same exchange.

    Returns:
        For every wish whether any rank has it.

    Raises:
        TrainingError: one is infinite or not a number.
    """
    broken, *agreed = told(group, not math.isfinite(loss), *wishes)
    if broken:
        raise not_finite("the loss", where)
    return agreed


def not_finite(what: str, where: str) -> TrainingError:
    """Return the error of a training whose figures left the range of numbers."""
    return TrainingError(
        f"{what} is infinite or not a number",
        where,
        "Lower learning_rate of the run, or raise its warmup_share",
    )


def predict(
    network: nn.Module,
    preprocessing: Preprocessing,
    dataset: PatchDataset,
    group: Group,
    *,
    device: torch.device,
    batch_size: int,
    classes: int,
) -> Probabilities:
    """Return the probabilities of all samples; the ranks share the work.

    Args:
        network: From normalised images to logits; it is put into evaluation mode.
        preprocessing: From stored pixels to normalised images.
        dataset: The samples, at least one.
        group: The ranks.
        device: Where network and preprocessing are.
        batch_size: Most samples at a time.
        classes: Number of classes.

    Returns:
        ``(n, classes)``, on every rank.
    """
    inference = InferenceNetwork(network, preprocessing).eval()
    mine: list[tuple[NDArray[np.int64], Probabilities]] = []
    with torch.inference_mode():
        for batch in evaluation_batches(dataset, batch_size, rank=group.rank, ranks=group.size):
            answers = inference(torch.from_numpy(batch.images).to(device))
            mine.append((batch.positions, answers.cpu().numpy()))
    probabilities = np.full((len(dataset), classes), np.nan, dtype=np.float32)
    for part in group.gather(mine):
        for positions, values in part:
            probabilities[positions] = values
    return probabilities

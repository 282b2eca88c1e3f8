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
from lamella.training.group import Group

Probabilities = NDArray[np.float32]
"""Shape ``(n, classes)``; rows sum to 1."""


def prepare_arithmetic(threads: int) -> None:
    """Set the number of threads, and have torch refuse operations that vary from run to run."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def backward(learner: nn.Module, preprocessing: Preprocessing, batch: Batch, ranks: int) -> float:
    """Add the gradients of a rank's batch to the parameters.

    The loss is weighted such that the mean of the gradients over the ranks is the gradient of the
    joint batch's mean loss, also where ranks have unequal numbers of samples.

    Returns:
        The sum of the samples' losses.
    """
    logits: Tensor = learner(preprocessing(torch.from_numpy(batch.images)))
    loss = cross_entropy(logits, torch.from_numpy(batch.labels), reduction="sum")
    (loss * (ranks / batch.joint_size)).backward()  # type: ignore[no-untyped-call]
    return loss.item()


def check_finite(loss: float, group: Group, where: str) -> None:
    """Check the losses of all ranks, on all ranks: none is left waiting for one that gave up.

    Args:
        loss: This rank's.
        group: The ranks.
        where: Epoch and step.

    Raises:
        TrainingError: one is infinite or not a number.
    """
    broken = torch.tensor([0.0 if math.isfinite(loss) else 1.0])
    group.average([broken])
    if broken.item() > 0.0:
        raise not_finite("the loss", where)


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
    batch_size: int,
    classes: int,
) -> Probabilities:
    """Return the probabilities of all samples; the ranks share the work.

    Args:
        network: From normalised images to logits; it is put into evaluation mode.
        preprocessing: From stored pixels to normalised images.
        dataset: The samples, at least one.
        group: The ranks.
        batch_size: Most samples at a time.
        classes: Number of classes.

    Returns:
        ``(n, classes)``, on every rank.
    """
    inference = InferenceNetwork(network, preprocessing).eval()
    mine: list[tuple[NDArray[np.int64], Probabilities]] = []
    with torch.inference_mode():
        for batch in evaluation_batches(dataset, batch_size, rank=group.rank, ranks=group.size):
            mine.append((batch.positions, inference(torch.from_numpy(batch.images)).numpy()))
    probabilities = np.full((len(dataset), classes), np.nan, dtype=np.float32)
    for part in group.gather(mine):
        for positions, values in part:
            probabilities[positions] = values
    return probabilities

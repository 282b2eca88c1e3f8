"""What is learned from, in torch; ``lamella.datasets.targets`` says which loss it is."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from lamella.datasets.settings import TargetKind


def sum_of_losses(outputs: Tensor, targets: Tensor, kind: TargetKind) -> Tensor:
    """Return the sum of the samples' losses.

    Args:
        outputs: ``(n, outputs)``, of the last layer: logits, or standardised numbers.
        targets: ``(n,)`` classes, or ``(n, k)`` labels or standardised numbers, NaN where unknown.
        kind: Which of them.
    """
    if kind is TargetKind.CLASSES:
        return cross_entropy(outputs, targets, reduction="sum")
    known = ~torch.isnan(targets)
    # What is unknown must not reach the loss: the gradient of a NaN is one, also times 0.
    filled = torch.where(known, targets, 0.0).to(outputs.dtype)
    each = (
        binary_cross_entropy_with_logits(outputs, filled, reduction="none")
        if kind is TargetKind.MULTI_LABEL
        else mse_loss(outputs, filled, reduction="none")
    )
    return torch.where(known, each, 0.0).sum() / targets.shape[1]

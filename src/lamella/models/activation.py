"""What is made of the last layer's outputs: the answers of a network."""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale


class OutputActivation(nn.Module):
    """From raw outputs to answers; a part of every exported graph.

    Args:
        kind: What the network has learned; classes and labels become probabilities.
        scale: With ``regression`` the units of the answers; raw outputs are standardised.
    """

    def __init__(self, kind: TargetKind = TargetKind.CLASSES, scale: Scale | None = None) -> None:
        super().__init__()
        self.kind = kind
        if scale is not None:
            self.register_buffer("means", _float32(scale.means), persistent=False)
            self.register_buffer("deviations", _float32(scale.deviations), persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return probabilities, or numbers in the units of the slide table, ``(n, outputs)``."""
        match self.kind:
            case TargetKind.CLASSES:
                return torch.softmax(outputs, dim=1)
            case TargetKind.MULTI_LABEL:
                return torch.sigmoid(outputs)
            case TargetKind.REGRESSION:
                means, deviations = cast(Tensor, self.means), cast(Tensor, self.deviations)
                return means + deviations * outputs


def _float32(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))

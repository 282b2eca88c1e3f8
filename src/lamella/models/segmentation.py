"""A segmentation network made ready for stored grey values."""

import torch
from torch import Tensor, nn


class SegmentationNetwork(nn.Module):
    """From stored grey values to probabilities: what is exported.

    Args:
        network: From scaled images of one channel to logits, channels first.
        low: Grey value, or Hounsfield units, that becomes 0, with all that is darker.
        high: Value that becomes 1, with all that is brighter.
    """

    def __init__(self, network: nn.Module, *, low: float, high: float) -> None:
        super().__init__()
        self.network = network
        self.low = low
        self.high = high

    def scaled(self, images: Tensor) -> Tensor:
        """Return images as the network takes them, ``(n, 1, …)`` in 0-1."""
        scaled = (images.to(torch.float32) - self.low) / (self.high - self.low)
        return scaled.clamp(0.0, 1.0).unsqueeze(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the probability of every class in every pixel.

        Args:
            images: ``(n, height, width)`` or ``(n, depth, height, width)``, of whole numbers.

        Returns:
            ``(n, …, classes)`` float32 of the same lengths; the last axis sums to 1.
        """
        return torch.softmax(self.network(self.scaled(images)), dim=1).movedim(1, -1)

"""From stored pixels to what a network sees."""

from typing import cast

import torch
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue in 0-1, the convention of torchvision and timm.

Source:
    https://pytorch.org/vision/stable/models.html, section on pre-trained weights.
"""


class Preprocessing(nn.Module):
    """Scale, normalise and bring the channels to the front; a part of every exported graph.

    Args:
        mean: Mean of red, green and blue in 0-1.
        standard_deviation: Standard deviation of red, green and blue in 0-1.
    """

    def __init__(
        self,
        mean: tuple[float, float, float] = MEAN,
        standard_deviation: tuple[float, float, float] = STANDARD_DEVIATION,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(standard_deviation), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Return normalised images.

        Args:
            patches: ``(n, height, width, 3)`` uint8, RGB.

        Returns:
            ``(n, 3, height, width)`` float32.
        """
        mean, deviation = cast(Tensor, self.mean), cast(Tensor, self.deviation)
        scaled = patches.to(torch.float32) / 255.0
        return ((scaled - mean) / deviation).permute(0, 3, 1, 2)

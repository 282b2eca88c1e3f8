"""U-Net for pictures and for volumes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_UPWARD = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class UNet(nn.Module):
    """An encoder and a decoder, joined at every scale.

    Two convolutions of 3 with batch normalisation and ReLU at every scale, halved by maximum and
    doubled by a transposed convolution.

    Args:
        dimensions: 2 for pictures, 3 for volumes.
        channels: Channels of the images.
        classes: Classes of a pixel.
        widths: Channels at every scale, the finest first.

    Source:
        Ronneberger, Fischer and Brox, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28; in three
        dimensions Çiçek et al., MICCAI 2016, doi:10.1007/978-3-319-46723-8_49. Batch normalisation
        and padded convolutions, which keep the size, are usual since.
    """

    def __init__(
        self, dimensions: int, *, channels: int, classes: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _double(dimensions, before, after) for before, after in pairwise((channels, *widths))
        )
        upward = list(pairwise(reversed(widths)))
        self.grow = nn.ModuleList(
            _UPWARD[dimensions](coarse, fine, 2, stride=2) for coarse, fine in upward
        )
        self.up = nn.ModuleList(_double(dimensions, 2 * fine, fine) for _, fine in upward)
        self.halve = _POOLS[dimensions](2)
        self.classify = _CONVOLUTIONS[dimensions](widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of every pixel.

        Args:
            images: ``(n, channels, height, width)`` or ``(n, channels, depth, height, width)``
                float32, each length divisible by 2 as often as there are coarser scales.

        Returns:
            ``(n, classes, …)`` of the same lengths.
        """
        kept: list[Tensor] = []
        values = images
        for place, block in enumerate(self.down):
            values = block(values if place == 0 else self.halve(values))
            kept.append(values)
        for grow, block, beside in zip(self.grow, self.up, reversed(kept[:-1]), strict=True):
            values = block(torch.cat([beside, grow(values)], dim=1))
        logits: Tensor = self.classify(values)
        return logits


def _double(dimensions: int, before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (before, after):
        # The normalisation has a bias of its own.
        layers += [
            _CONVOLUTIONS[dimensions](width, after, 3, padding=1, bias=False),
            _NORMS[dimensions](after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)

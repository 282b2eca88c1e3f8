"""The networks, by name, and a network made ready for stored pixels."""

import difflib

import timm
import torch
from torch import Tensor, nn

from lamella.errors import TrainingError
from lamella.models.preprocess import Preprocessing


def check_network(name: str) -> None:
    """Check that there is a network of a name, with or without the tag of its weights.

    Raises:
        TrainingError: timm has none.
    """
    tagged = timm.list_models(include_tags=True)
    # `is_model` looks at what stands before the dot only.
    if name not in tagged if "." in name else not timm.is_model(name):
        close = difflib.get_close_matches(name, {*timm.list_models(), *tagged}, n=1)
        raise TrainingError(
            "timm has no network of this name",
            f"model {name!r}",
            f"Did you mean {close[0]!r}" if close else "`timm.list_models()` gives all names",
        )


def build_network(name: str, classes: int) -> nn.Module:
    """Return a network with random weights, drawn from torch's global generator.

    Args:
        name: A name of timm.
        classes: Number of outputs.

    Returns:
        A module that takes ``(n, 3, height, width)`` float32, normalised, and returns logits
        ``(n, classes)``.

    Raises:
        TrainingError: timm has no network of that name.
    """
    check_network(name)
    return timm.create_model(name, pretrained=False, num_classes=classes)


class InferenceNetwork(nn.Module):
    """From stored pixels to probabilities: what is evaluated, exported and explained.

    Args:
        network: From normalised images to logits.
        preprocessing: From stored pixels to normalised images.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.network = network

    def forward(self, patches: Tensor) -> Tensor:
        """Return the probability of every class.

        Args:
            patches: ``(n, height, width, 3)`` uint8, RGB.

        Returns:
            ``(n, classes)`` float32; rows sum to 1.
        """
        return torch.softmax(self.network(self.preprocessing(patches)), dim=1)

"""The networks, by name, and a network made ready for stored pixels."""

from itertools import pairwise

import timm
import torch
from torch import Tensor, nn

from lamella.errors import TrainingError
from lamella.models.activation import OutputActivation
from lamella.models.names import names_instead
from lamella.models.preprocess import Preprocessing
from lamella.models.settings import HeadSettings

PLAIN_HEAD = HeadSettings()
"""One linear layer, as timm makes it."""


def check_network(name: str) -> None:
    """Check that there is a network of a name, with or without the tag of its weights.

    Raises:
        TrainingError: timm has none.
    """
    tagged = timm.list_models(include_tags=True)
    # `is_model` looks at what stands before the dot only.
    if name not in tagged if "." in name else not timm.is_model(name):
        raise TrainingError(
            "timm has no network of this name",
            f"model {name!r}",
            names_instead(name, {*timm.list_models(), *tagged}),
        )


def build_network(name: str, classes: int, head: HeadSettings = PLAIN_HEAD) -> nn.Module:
    """Return a network with random weights, drawn from torch's global generator.

    Args:
        name: A name of timm.
        classes: Number of outputs.
        head: What stands between the pooled features and the outputs.

    Returns:
        A module that takes ``(n, 3, height, width)`` float32, normalised, and returns logits
        ``(n, classes)``.

    Raises:
        TrainingError: timm has no network of that name, or one that is asked for a head ends in
            something else than one linear layer.
    """
    check_network(name)
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    if head != PLAIN_HEAD:
        _replace_classifier(network, name, head)
    return network


def classifier_name(network: nn.Module) -> str | None:
    """Return the name of the module that turns pooled features into logits.

    ``None`` for networks that have several, or none that is a module of its own.
    """
    # timm's `get_classifier` is not told of a head that takes its place; this note is kept.
    name = getattr(network, "pretrained_cfg", {}).get("classifier")
    return name if isinstance(name, str) else None


def _replace_classifier(network: nn.Module, model: str, head: HeadSettings) -> None:
    name = classifier_name(network)
    last = network.get_submodule(name) if name else None
    if name is None or not isinstance(last, nn.Linear):
        raise TrainingError(
            "the network does not end in one linear layer, which the head would replace",
            f"model {model!r}",
            "Leave head out for this network, or choose another",
        )
    network.set_submodule(name, _head(last.in_features, last.out_features, head))


def _head(features: int, classes: int, head: HeadSettings) -> nn.Sequential:
    """Return hidden layers, each with its dropout, and the layer of the logits."""
    widths = (features, *head.hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(head.dropout)]
    if not head.hidden:
        layers.append(nn.Dropout(head.dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def check_size(network: nn.Module, name: str, size_px: int) -> None:
    """Check that a network takes patches of a size; it is left in evaluation mode.

    Raises:
        TrainingError: it does not.
    """
    device = next(network.parameters()).device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size_px, size_px, device=device))
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"the network does not take patches of {size_px} pixels ({error})",
            f"model {name!r}",
            "Change patches.size_px, or choose another network",
        ) from error


class InferenceNetwork(nn.Module):
    """From stored pixels to answers: what is evaluated, exported and explained.

    Args:
        network: From normalised images to the outputs of the last layer.
        preprocessing: From stored pixels to normalised images.
        activation: From these outputs to answers; of ``None``, the softmax of classes.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        activation: OutputActivation | None = None,
    ) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.network = network
        self.activation = activation or OutputActivation()

    def forward(self, patches: Tensor) -> Tensor:
        """Return the probability of every class or label, or the number of every column.

        Args:
            patches: ``(n, height, width, 3)`` uint8, RGB.

        Returns:
            ``(n, outputs)`` float32; of classes, rows sum to 1.
        """
        answers: Tensor = self.activation(self.network(self.preprocessing(patches)))
        return answers

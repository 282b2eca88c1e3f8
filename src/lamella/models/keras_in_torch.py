"""A network that TensorFlow has trained, computed by torch.

Keras defines the network, and computes it by TensorFlow or by torch. So what is exported, explained
and compared is made by the same code whatever framework has trained; a test holds the answers of
the two against each other.
"""

from typing import Any

from torch import Tensor, nn

from lamella.errors import StoreError
from lamella.models.keras_library import KerasBackend, load_keras
from lamella.models.keras_networks import KerasNetwork, build_keras_network, stored_variables
from lamella.models.settings import HeadSettings
from lamella.models.weights import Weights


class _Part(nn.Module):
    """A part of a network of Keras, which torch's hooks and exporter see as one module."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.model(images, training=False)
        return found


class KerasInTorch(nn.Module):
    """From normalised images ``(n, 3, height, width)`` to logits, in evaluation mode.

    Attributes:
        feature_info: Name of the module and number of channels of each convolutional stage, as
            networks of timm say them.
    """

    def __init__(self, keras: Any, network: KerasNetwork) -> None:
        super().__init__()
        ends = [network.model.get_layer(name).output for name in network.stages]
        starts = [network.model.input, *ends]
        pairs = zip(starts, [*ends, network.model.output], strict=True)
        self.parts = nn.ModuleList(_Part(keras.Model(start, end)) for start, end in pairs)
        self.feature_info = [
            {"module": f"parts.{number}", "num_chs": end.shape[1]}
            for number, end in enumerate(ends)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, ``(n, outputs)``."""
        for part in self.parts:
            images = part(images)
        return images


def keras_network_in_torch(
    name: str, outputs: int, head: HeadSettings, weights: Weights
) -> KerasInTorch:
    """Return a trained network as a module of torch.

    Args:
        name: ``resnet50``, ``resnet101`` or ``inception_v3``.
        outputs: Number of outputs.
        head: What stands between the pooled features and the outputs.
        weights: Weights and running statistics by Keras' names.

    Raises:
        StoreError: the weights are of another network.
    """
    keras = load_keras(KerasBackend.TORCH)
    network = build_keras_network(keras, name, outputs, head, channels_last=False)
    variables = stored_variables(network)
    if variables.keys() != weights.keys():
        odd = sorted(variables.keys() ^ weights.keys())[0]
        raise StoreError(
            f"the weights are of another network: {odd} is in one of the two only",
            f"model {name!r}",
            "Train the run again with this version of Lamella",
        )
    for path, variable in variables.items():
        variable.assign(weights[path])
    return KerasInTorch(keras, network).eval()

"""The networks of Keras' applications, by name; built alike under TensorFlow and under torch."""

from dataclasses import dataclass
from typing import Any

from lamella.errors import TrainingError
from lamella.models.settings import HeadSettings

_APPLICATIONS = {
    "resnet50": (
        "ResNet50",
        ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    ),
    "resnet101": (
        "ResNet101",
        ("conv2_block3_out", "conv3_block4_out", "conv4_block23_out", "conv5_block3_out"),
    ),
    "inception_v3": ("InceptionV3", ("mixed2", "mixed7", "mixed10")),
}
"""Keras' own name, and of each stage the last layer before the grid gets coarser."""

HEAD_NAMES = ("hidden_", "dropout", "logits")
"""What the names of the layers behind the pooled features begin with."""

_MOMENTUM = 0.9
"""Share of the old running statistics that a step keeps: torch's. Keras' own 0.99 needs hundreds of
steps before a network can be judged."""


@dataclass(frozen=True)
class KerasNetwork:
    """A network of Keras.

    Attributes:
        model: From normalised images to logits ``(n, outputs)``: ``keras.Model``. Images are
            ``(n, height, width, 3)`` where channels are last, else ``(n, 3, height, width)``.
        body: What is before the head: to pooled features.
        stages: The last layer of each convolutional stage.
    """

    model: Any
    body: Any
    stages: tuple[str, ...]


def build_keras_network(
    keras: Any,
    name: str,
    outputs: int,
    head: HeadSettings,
    *,
    channels_last: bool = True,
    policy: str | None = None,
) -> KerasNetwork:
    """Return a network with random weights.

    Equal arguments give equal names of weights, whatever was built before.

    Args:
        keras: The module, from ``load_keras``.
        name: ``resnet50``, ``resnet101`` or ``inception_v3``.
        outputs: Number of outputs.
        head: What stands between the pooled features and the outputs.
        channels_last: Where the channels of its images are; the weights are the same.
        policy: Keras' name of the numbers that it computes in, such as ``mixed_bfloat16``; absent:
            those of its weights.

    Source:
        He et al., CVPR 2016, doi:10.1109/CVPR.2016.90; Szegedy et al., CVPR 2016,
        doi:10.1109/CVPR.2016.308.
    """
    # Layers without a name of their own are numbered through the process.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy or keras.config.floatx())
    keras.config.set_image_data_format("channels_last" if channels_last else "channels_first")
    application, stages = _APPLICATIONS[name]
    body = getattr(keras.applications, application)(
        include_top=False,
        weights=None,
        input_shape=(None, None, 3) if channels_last else (3, None, None),
        pooling="avg",
    )
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    model = keras.Model(body.input, _logits(keras, body.output, outputs, head))
    return KerasNetwork(model=model, body=body, stages=stages)


def _logits(keras: Any, features: Any, outputs: int, head: HeadSettings) -> Any:
    """Return the logits: hidden layers with ReLU, each with its dropout, and a linear layer."""
    layers = keras.layers
    for number, width in enumerate(head.hidden, start=1):
        features = layers.Dense(width, activation="relu", name=f"hidden_{number}")(features)
        if head.dropout:
            features = layers.Dropout(head.dropout, name=f"dropout_{number}")(features)
    if head.dropout and not head.hidden:
        features = layers.Dropout(head.dropout, name="dropout")(features)
    # In the precision of the weights, whatever the rest computes in: a loss is below bfloat16's.
    return layers.Dense(outputs, name="logits", dtype=keras.config.floatx())(features)


def stored_variables(network: KerasNetwork) -> dict[str, Any]:
    """Return the variables that are stored, by name: weights and running statistics."""
    return {variable.path: variable for variable in network.model.weights}


def body_variables(network: KerasNetwork) -> dict[str, Any]:
    """Return those of them that are not the head's, by name."""
    return {variable.path: variable for variable in network.body.weights}


def check_keras_size(network: KerasNetwork, name: str, size_px: int) -> None:
    """Check that a network takes patches of a size.

    Raises:
        TrainingError: it does not.
    """
    shape = (1, size_px, size_px, 3)
    try:
        network.model.compute_output_shape(shape)
    except ValueError as error:
        raise TrainingError(
            f"the network does not take patches of {size_px} pixels ({_first_line(error)})",
            f"model {name!r}",
            "Change patches.size_px, or choose another network",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

"""``lamella.models.unet`` in Keras: the same network with the same weights, channels last."""

from collections.abc import Mapping
from itertools import count, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-5
"""Added to the variance: torch's. Keras' own is 1e-3."""

_NORM = ("weight", "bias", "running_mean", "running_var")
"""Torch's names of a normalisation's weights, in Keras' order."""


def build_keras_unet(keras: Any, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """Return a U-Net with the weights of one of torch; they tell its dimensions and widths.

    Args:
        keras: The module, from ``load_keras``.
        weights: Those of a ``UNet``, by their names there.

    Returns:
        ``keras.Model`` from images ``(n, …, channels)`` to logits ``(n, …, classes)``. Its layers
        have the names of torch's modules.
    """
    first = weights["down.0.0.weight"]
    images = keras.Input((*[None] * (first.ndim - 2), first.shape[1]))
    kept, values = [], images
    layers = _Layers(keras, weights)
    for place in takewhile(lambda each: f"down.{each}.0.weight" in weights, count()):
        values = layers.double(f"down.{place}", values if place == 0 else layers.halve(values))
        kept.append(values)
    for place, beside in enumerate(reversed(kept[:-1])):
        grown = layers.grow(f"grow.{place}", values)
        joined = keras.layers.Concatenate(name=f"join.{place}")([beside, grown])
        values = layers.double(f"up.{place}", joined)
    model = keras.Model(images, layers.convolve("classify", values))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_of_layer(layer.name, weights))
    return model


class _Layers:
    """The layers of a U-Net, with the widths of weights."""

    def __init__(self, keras: Any, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self._layers = keras.layers
        self._weights = weights
        self._dimensions = weights["classify.weight"].ndim - 2

    def convolve(self, name: str, values: Any) -> Any:
        kernel = self._weights[f"{name}.weight"]
        layer = self._of_dimensions("Conv{}D")(
            kernel.shape[0],
            kernel.shape[2:],
            padding="same",
            use_bias=f"{name}.bias" in self._weights,
            name=name,
        )
        return layer(values)

    def double(self, name: str, values: Any) -> Any:
        for place in (0, 3):
            values = self.convolve(f"{name}.{place}", values)
            norm = self._layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}.{place + 1}")
            values = self._layers.ReLU(name=f"{name}.{place + 2}")(norm(values))
        return values

    def halve(self, values: Any) -> Any:
        return self._of_dimensions("MaxPooling{}D")(2)(values)

    def grow(self, name: str, values: Any) -> Any:
        kernel = self._weights[f"{name}.weight"]
        layer = self._of_dimensions("Conv{}DTranspose")(kernel.shape[1], 2, strides=2, name=name)
        return layer(values)

    def _of_dimensions(self, name: str) -> Any:
        return getattr(self._layers, name.format(self._dimensions))


def _of_layer(name: str, weights: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return the weights of a layer in Keras' order.

    Torch's convolutions are ``(after, before, …)`` and Keras' ``(…, before, after)``; transposed
    ones are the other way round in both, so that one rule turns them all.
    """
    found = [weights[f"{name}.{each}"] for each in _NORM if f"{name}.{each}" in weights]
    return [each if each.ndim == 1 else _turned(each) for each in found]


def _turned(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.moveaxis(kernel, (0, 1), (-1, -2))

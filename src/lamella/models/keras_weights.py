"""Weights of networks of Keras from a file, and weights that do not change."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import TrainingError
from lamella.models.keras_networks import (
    HEAD_NAMES,
    KerasNetwork,
    body_variables,
    stored_variables,
)
from lamella.models.preprocess import MEAN, STANDARD_DEVIATION
from lamella.models.settings import KERAS_SUFFIX, Preparation
from lamella.models.weights import fitting, frozen_names, read_weights

_logger = logging.getLogger(__name__)

_CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Of red, green and blue in 0-255."""

_MOST_OF_HEAD = 2
"""Tensors of the classifier that files of Keras end with: its kernel and its bias."""


def freeze_keras(keras: Any, model: Any, patterns: Sequence[str]) -> list[Any]:
    """Return the weights that learn: those whose names match no pattern (``fnmatch``).

    Batch normalisation of which all weights are frozen is set to evaluation: its running statistics
    belong to its weights, and would drift away.

    Raises:
        TrainingError: see ``frozen_names``.
    """
    weights = {variable.path: variable for variable in model.trainable_variables}
    frozen = frozen_names(list(weights), patterns)
    for layer in model.layers:
        own = {variable.path for variable in layer.trainable_variables}
        if isinstance(layer, keras.layers.BatchNormalization) and own and own <= frozen:
            layer.trainable = False
    return [variable for path, variable in weights.items() if path not in frozen]


def load_keras_weights(
    network: KerasNetwork, path: Path, *, prepared: Preparation = Preparation.LAMELLA
) -> None:
    """Give a network the weights of a file: ``best.pt`` of a run, or HDF5 as Keras offers it.

    A head that is not of the network's shape is left out, which the log says, and so is the one of
    Keras' files. Then it keeps its random weights.

    Args:
        network: The network.
        path: The file.
        prepared: How images were prepared that these weights have learned from.

    Raises:
        TrainingError: the file cannot be used, or is of another network: the names are told.
    """
    variables, body = stored_variables(network), body_variables(network)
    stored: Mapping[str, Any] = (
        dict(zip(body, read_keras_file(path, len(body)), strict=True))
        if path.suffix == KERAS_SUFFIX
        else read_weights(path)
    )
    kept = fitting(stored, variables, path, is_head=lambda name: name.startswith(HEAD_NAMES))
    for name, values in kept.items():
        # A file may hold numbers that numpy does not know, such as bfloat16.
        plain = values.float().numpy() if isinstance(values, Tensor) else values
        variables[name].assign(plain)
    if prepared is Preparation.KERAS:
        _see_normalised(network)


def _see_normalised(network: KerasNetwork) -> None:
    """Turn the first layer such that it makes of normalised images what it made of Keras' own.

    Exact but for the border of ResNets: the zeros around an image are half a level of 255 away from
    Keras' mean.

    Source:
        ``keras.applications.imagenet_utils.preprocess_input``: ResNets are given blue, green and
        red in 0-255 less their mean (``caffe``), Inception -1 to 1 (``tf``).
    """
    kernel, behind = network.body.weights[:2]
    mean, deviation = (np.array(each)[:, None] for each in (MEAN, STANDARD_DEVIATION))
    before = np.asarray(kernel.numpy())
    scale, offset = 2.0, np.ones((3, 1))
    is_resnet = behind.path.endswith("/bias")
    if is_resnet:
        before, scale, offset = before[:, :, ::-1], 255.0, np.array(_CAFFE_MEAN)[:, None]
    # Keras' images are scale · pixel - offset, where a pixel is deviation · normalised + mean.
    shift = (before * (scale * mean - offset)).sum(axis=(0, 1, 2))
    kernel.assign(before * (scale * deviation))
    if is_resnet:
        behind.assign(behind.numpy() + shift)
    else:
        # No bias: what is added comes off the mean that normalisation takes off again.
        running_mean = network.body.weights[2]
        running_mean.assign(running_mean.numpy() - shift)


def read_keras_file(path: Path, count: int) -> list[NDArray[Any]]:
    """Return the first tensors of an HDF5 file of weights, in the order of its layers.

    Names do not count, for Keras numbers layers without one; so it reads these files itself.

    Args:
        path: Weights, or a whole model, as Keras' applications offer them and
            ``model.save("….h5")`` writes them.
        count: How many; a classifier may follow them.

    Raises:
        TrainingError: the file is damaged, of another layout, or has another number of tensors.
    """
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            layers = [group[name] for name in group.attrs["layer_names"]]
            found = [
                np.asarray(layer[name]) for layer in layers for name in layer.attrs["weight_names"]
            ]
    except (OSError, KeyError) as error:
        raise TrainingError(
            f"the weights cannot be read ({error})",
            str(path),
            "Name best.pt of a run, or an HDF5 file of weights as Keras' applications offer it",
        ) from error
    if not count <= len(found) <= count + _MOST_OF_HEAD:
        raise TrainingError(
            f"the weights are of another network: {len(found)} tensors instead of {count}",
            str(path),
            "Choose the model that they were trained with",
        )
    return found[:count]

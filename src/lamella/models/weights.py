"""Weights from a file, and weights that do not change."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from pickle import UnpicklingError
from typing import Protocol, TypeVar
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lamella.errors import TrainingError
from lamella.models.networks import classifier_name

_logger = logging.getLogger(__name__)

Weights = dict[str, Tensor]

_INSIDE = ("network", "state_dict", "model")
"""Where the weights stand in Lamella's own files, in timm's and in those of many trainings."""

_AUXILIARY = "AuxLogits."
"""The second classifier of Inception-v3, which is not built: weights of torchvision hold it."""

_MOST_NAMES = 5


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path) -> Weights:
    """Return the weights in a ``.safetensors`` file, or in a file of torch's without pickled code.

    Raises:
        TrainingError: the file is missing or damaged, holds code, or no weights.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, BadZipFile, UnpicklingError, SafetensorError) as error:
        raise _unusable(path, str(error).splitlines()[0]) from error
    for name in _INSIDE:
        if isinstance(stored, dict) and isinstance(stored.get(name), dict):
            stored = stored[name]
    if not isinstance(stored, dict) or not stored or not _all_tensors(stored):
        raise _unusable(path, "it holds no weights")
    return stored


def _all_tensors(stored: dict[str, object]) -> bool:
    return all(isinstance(value, Tensor) for value in stored.values())


def _unusable(path: Path, why: str) -> TrainingError:
    return TrainingError(
        f"the weights cannot be read ({why})",
        str(path),
        "Name a .safetensors file, or a .pt file written with torch.save(network.state_dict())",
    )


def stored_weights(network: nn.Module) -> Weights:
    """Return weights and buffers as they are stored: in main memory, in the order of their axes."""
    weights = network.state_dict()
    # In its own dictionary, which also holds the versions of the modules.
    for name, tensor in weights.items():
        weights[name] = tensor.cpu().contiguous()
    return weights


def load_weights(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a file.

    A classifier that is not of the network's shape is left out, which the log says; so is the
    auxiliary one of Inception-v3, unsaid. Then it keeps its random weights.

    Raises:
        TrainingError: the file cannot be used, or is of another network: the names are told.
    """
    stored = {
        key: value for key, value in read_weights(path).items() if not key.startswith(_AUXILIARY)
    }
    prefix = f"{classifier_name(network)}."
    kept = fitting(stored, network.state_dict(), path, is_head=lambda key: key.startswith(prefix))
    network.load_state_dict(kept, strict=False)


class _Shaped(Protocol):
    @property
    def shape(self) -> Sequence[int]: ...


Value = TypeVar("Value", bound=_Shaped)


def fitting(
    stored: Mapping[str, Value],
    expected: Mapping[str, _Shaped],
    path: Path,
    *,
    is_head: Callable[[str], bool],
) -> dict[str, Value]:
    """Return the weights of a file that a network takes: all, or all but its head.

    A head that is not of the network's shape is left out, which the log says.

    Args:
        stored: What the file holds, by name.
        expected: What the network has, by name.
        path: The file.
        is_head: Whether a name belongs to what stands behind the pooled features.

    Raises:
        TrainingError: the file is of another network: names are told.
    """
    heads = [{key: tuple(of[key].shape) for key in of if is_head(key)} for of in (stored, expected)]
    left_out = heads[0] != heads[1]
    kept = {key: value for key, value in stored.items() if not (left_out and is_head(key))}
    wanted = [key for key in expected if not (left_out and is_head(key))]
    faults = list(_faults(kept, expected, wanted))
    if faults:
        raise TrainingError(
            f"the weights are of another network: {_listed(faults)}",
            str(path),
            "Choose the model that they were trained with",
        )
    _logger.info("%s: %d tensors taken, %d left out", path, len(kept), len(stored) - len(kept))
    if left_out:
        _logger.info("%s: its classifier is of another shape; that of the run is new", path)
    return kept


def _faults(
    kept: Mapping[str, _Shaped], expected: Mapping[str, _Shaped], wanted: Sequence[str]
) -> Iterator[str]:
    """Yield what is missing, unknown or of another shape."""
    for key in wanted:
        # A counter that weights from before it was introduced lack; nothing depends on it.
        if key not in kept and not key.endswith(".num_batches_tracked"):
            yield f"{key} is missing"
    for key, value in kept.items():
        if key not in expected:
            yield f"{key} is unknown"
        elif tuple(value.shape) != tuple(expected[key].shape):
            yield f"{key} is {tuple(value.shape)} instead of {tuple(expected[key].shape)}"


def _listed(faults: list[str]) -> str:
    more = len(faults) - _MOST_NAMES
    return ", ".join(sorted(faults)[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def frozen_names(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Return the names of parameters that match a pattern (``fnmatch``).

    Raises:
        TrainingError: a pattern matches nothing, or nothing is left to learn.
    """
    frozen = set()
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise TrainingError(
                f"{pattern!r} matches no parameter of the network, such as {names[0]}",
                "freeze of the run",
                "Correct the pattern; * stands for any characters",
            )
        frozen.update(matching)
    if len(frozen) == len(names):
        raise TrainingError(
            "nothing is left to learn", "freeze of the run", "Leave the classifier out of it"
        )
    return frozen


def freeze(network: nn.Module, patterns: Sequence[str]) -> None:
    """Have the parameters whose names match a pattern keep their values.

    Raises:
        TrainingError: see ``frozen_names``.
    """
    weights = dict(network.named_parameters())
    for name in frozen_names(list(weights), patterns):
        weights[name].requires_grad_(False)


def set_learning_mode(network: nn.Module) -> None:
    """Put a network into training mode, but for batch normalisation that is frozen.

    Its running statistics belong to its weights: they would drift away, and change what the frozen
    layers behind it are given.
    """
    network.train()
    for module in network.modules():
        weights = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and weights:
            module.train(any(weight.requires_grad for weight in weights))

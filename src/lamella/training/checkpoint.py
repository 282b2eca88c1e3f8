"""What a training keeps on disk: its resumable state, and the best network.

``state/checkpoint.pt`` is replaced at the end of every epoch, and every few minutes between two
steps of one. ``state/best-<epoch>.pt`` holds the best weights so far; the checkpoint names the
epoch, so that the two always belong together.
``best.pt`` is the result: weights and all that is needed to use them. All are read with
``torch.load(weights_only=True)``: no pickled code.

All that is random is a function of seed, epoch and sample or rank, so an epoch is the same whether
the process has run the epochs before it or not. In the middle of one, the states of the
framework's generators are kept.
"""

import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import nn

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale
from lamella.errors import StoreError
from lamella.models.activation import OutputActivation
from lamella.models.networks import InferenceNetwork, build_network
from lamella.models.preprocess import MEAN, STANDARD_DEVIATION, Preprocessing
from lamella.models.weights import Weights
from lamella.stores.atomic import replacing
from lamella.training.settings import Framework, RunSettings
from lamella.training.usage import Usage

LAYOUT = "lamella network 1"
BEST = "best.pt"

_logger = logging.getLogger(__name__)

EpochRow = dict[str, float | int | None]
"""One row of ``history.tsv``."""


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: Finished epochs.
        best_epoch: The epoch with the best network, from 1; 0 before the first is finished.
        best_quality: What that epoch is compared by; ``None`` before the first is finished.
        history: One row per finished epoch.
        usage: What each rank has used of its machine, per finished epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_quality: tuple[float, float] | None = None
    history: list[EpochRow] = field(default_factory=list)
    usage: list[list[Usage]] = field(default_factory=list)

    def is_over(self, run: RunSettings) -> bool:
        """Return whether all epochs are finished, or the run's patience with the last ones is."""
        vain = self.epoch - self.best_epoch
        return self.epoch == run.epochs or (run.patience is not None and vain >= run.patience)


@dataclass(frozen=True)
class Checkpoint:
    """A training that can go on.

    Attributes:
        progress: How far it has come.
        state: What is the same on every rank: weights and buffers, optimiser, scaler of gradients;
            empty when no epoch is left.
        ranks: What each rank has of an epoch under way; empty between two epochs.
    """

    progress: Progress
    state: dict[str, Any]
    ranks: list[dict[str, Any]]


class StateFolder:
    """The resumable state of one training.

    Args:
        folder: The folder ``state`` beside the results.
        made_by: All that the training's result depends on, plain values.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self._folder = folder
        self._path = folder / "checkpoint.pt"
        self._made_by = dict(made_by)

    def take_up(self) -> Checkpoint | None:
        """Return the checkpoint, or ``None``; that of another training is removed.

        Raises:
            StoreError: the file is damaged.
        """
        if not self._path.exists():
            return None
        stored = _load(self._path, "made_by")
        changed = [key for key in self._made_by if stored["made_by"].get(key) != self._made_by[key]]
        if changed:
            _logger.warning(
                "%s: the state there was made with another %s; the training starts anew",
                self._folder,
                ", ".join(changed),
            )
            # Weights of the new training will lie beside it, which are not its own.
            self._path.unlink()
            return None
        progress = Progress(**stored["progress"])
        return Checkpoint(progress, stored["state"], stored["ranks"])

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; weights of epochs that are no longer the best are removed."""
        progress = checkpoint.progress
        stored = {
            "made_by": self._made_by,
            "progress": asdict(progress),
            "state": checkpoint.state,
            "ranks": checkpoint.ranks,
        }
        _save(self._path, stored)
        for other in self._folder.glob("best-*.pt"):
            if other != self._best_path(progress.best_epoch):
                other.unlink()

    def write_best(self, epoch: int, network: Weights) -> None:
        """Keep the weights of an epoch, until a checkpoint names another one as the best."""
        _save(self._best_path(epoch), network)

    def read_best(self, epoch: int) -> Weights:
        """Return the weights of the best epoch.

        Raises:
            StoreError: the file is missing or damaged.
        """
        return _load(self._best_path(epoch))

    def _best_path(self, epoch: int) -> Path:
        return self._folder / f"best-{epoch}.pt"


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and what is needed to use it.

    Attributes:
        weights: Weights and buffers by name, those of the framework that trained it.
        name: Name of the run.
        seed: Seed of the training.
        classes: Name of each output: a class, or a column of the slide table.
        patch_px: Edge length of the patches it was trained on.
        mpp: Microns per pixel of those patches.
        run: How it was trained.
        epoch: The epoch it is from.
        index_digest: Digest of the patches it was trained on.
        mean: Mean of red, green and blue in 0-1 that patches were normalised by.
        standard_deviation: Their standard deviation.
        scale: With ``regression`` the units of the answers.
    """

    weights: Weights
    name: str
    seed: int
    classes: tuple[str, ...]
    patch_px: int
    mpp: float
    run: RunSettings
    epoch: int
    index_digest: str
    mean: tuple[float, float, float] = MEAN
    standard_deviation: tuple[float, float, float] = STANDARD_DEVIATION
    scale: Scale | None = None

    @property
    def kind(self) -> TargetKind:
        """What it has learned."""
        return self.run.target.kind

    @cached_property
    def network(self) -> nn.Module:
        """From normalised images to raw outputs, a module of torch in evaluation mode.

        Of a network that TensorFlow has trained it is the same network, computed by torch.
        """
        if self.run.framework is Framework.TENSORFLOW:
            # Imported here: Keras takes seconds.
            from lamella.models.keras_in_torch import keras_network_in_torch

            return keras_network_in_torch(
                self.run.model, len(self.classes), self.run.head, self.weights
            )
        network = build_network(self.run.model, len(self.classes), self.run.head)
        network.load_state_dict(self.weights)
        return network.eval()

    @property
    def preprocessing(self) -> Preprocessing:
        """From stored pixels to normalised images."""
        return Preprocessing(self.mean, self.standard_deviation)

    def inference(self) -> InferenceNetwork:
        """Return the module from stored pixels to answers, in evaluation mode."""
        activation = OutputActivation(self.kind, self.scale)
        return InferenceNetwork(self.network, self.preprocessing, activation).eval()


def save_trained(path: Path, model: TrainedModel) -> None:
    """Write ``best.pt`` in one step; equal models make equal bytes."""
    stored = {
        "layout": LAYOUT,
        "network": model.weights,
        "mean": list(model.mean),
        "standard_deviation": list(model.standard_deviation),
        "name": model.name,
        "seed": model.seed,
        "classes": list(model.classes),
        "patch_px": model.patch_px,
        "mpp": model.mpp,
        "settings": model.run.as_params(),
        "epoch": model.epoch,
        "index_digest": model.index_digest,
    }
    if model.scale is not None:
        stored["means"] = model.scale.means.tolist()
        stored["deviations"] = model.scale.deviations.tolist()
    _save(path, stored)


def load_trained(metrics_or_folder: Path) -> TrainedModel:
    """Return the network that a training found best.

    Args:
        metrics_or_folder: ``metrics.json`` of a training, or the folder it is in.

    Raises:
        StoreError: ``best.pt`` there is missing, damaged or of another layout.
    """
    folder = metrics_or_folder if metrics_or_folder.is_dir() else metrics_or_folder.parent
    stored = _load(folder / BEST, "layout")
    if stored["layout"] != LAYOUT:
        raise _damaged(folder / BEST, f"its layout is not {LAYOUT!r}")
    return TrainedModel(
        weights=stored["network"],
        name=stored["name"],
        seed=stored["seed"],
        classes=tuple(stored["classes"]),
        patch_px=stored["patch_px"],
        mpp=stored["mpp"],
        run=RunSettings.from_params(stored["settings"]),
        epoch=stored["epoch"],
        index_digest=stored["index_digest"],
        mean=tuple(stored["mean"]),
        standard_deviation=tuple(stored["standard_deviation"]),
        scale=_stored_scale(stored),
    )


def _stored_scale(stored: dict[str, Any]) -> Scale | None:
    if "means" not in stored:
        return None
    return Scale(np.array(stored["means"]), np.array(stored["deviations"]))


def _save(path: Path, value: Any) -> None:
    """Write a file of torch in one step.

    Raises:
        StoreError: it cannot be written, as on a full disk.
    """
    try:
        # Given a path, torch writes the file's (temporary) name into the file.
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(value, file)
    except (OSError, RuntimeError) as error:
        # torch then tries to end its archive, and tells only that this fails, too.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise StoreError(
            f"it cannot be written ({cause.strerror or cause})",
            str(path),
            "Make room there, then start again: the training goes on from its last checkpoint",
        ) from cause


def _load(path: Path, *keys: str) -> dict[str, Any]:
    """Return the dictionary in a file, which has at least these keys.

    Raises:
        StoreError: the file is missing, damaged, or holds something else.
    """
    try:
        # torch does not look at the checksums: flipped bits would be taken for weights.
        with ZipFile(path) as archive:
            broken = archive.testzip()
        stored = None if broken else torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, BadZipFile, UnpicklingError, zlib.error) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    if broken:
        raise _damaged(path, f"the checksum of {broken} in it is wrong")
    if not isinstance(stored, dict) or not stored.keys() >= set(keys):
        raise _damaged(path, "it holds something else")
    return stored


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"the file cannot be used ({why})",
        str(path),
        f"Delete the folder {path.parent} and train again",
    )

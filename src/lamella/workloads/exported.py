"""``results/workloads/{case}/network.json``: the network of a workload, in several formats."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lamella.benchmark.settings import BenchmarkCase
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import MODEL_FILES, ModelFormat, ModelInterface, model_digest
from lamella.stores.atomic import replacing
from lamella.workloads.stored import Stored, unreadable

NETWORK_NAME = "network.json"
"""Name of the description of a workload's network."""

REFERENCE_NAME = "reference.npz"
"""Examples and the network's answers to them, beside ``network.json``."""


class ExportedNetwork(Stored):
    """A network with seeded weights, and where its formats are."""

    case: BenchmarkCase
    """The workload."""
    seed: int
    """Seed of the weights."""
    parameters: int
    """Number of weights."""
    interface: ModelInterface
    """Input and output of every format."""
    digests: dict[ModelFormat, str]
    """SHA-256 of the model in each format, as in ``model.json`` of a trained network."""
    files: dict[ModelFormat, tuple[str, ...]]
    """The files that it covers, relative to the folder of the format."""
    failures: dict[ModelFormat, str] = Field(default_factory=dict)
    """Why other formats could not be written."""

    def open(self, folder: Path, stored: ModelFormat) -> Path:
        """Return what a program opens, checked.

        Args:
            folder: Where ``network.json`` is.
            stored: The format.

        Raises:
            EngineUnavailableError: the network could not be written in this format.
            StoreError: it was not exported in it, the model is missing, or not the one that was
                described.
        """
        path = folder / stored / MODEL_FILES[stored]
        remedy = f"Delete {folder / NETWORK_NAME} and run `snakemake benchmark` again"
        if stored in self.failures:
            raise EngineUnavailableError(self.failures[stored], str(path), "Choose another engine")
        if stored not in self.files:
            raise StoreError(
                "the network was not exported in this format",
                str(path),
                "Add an engine that reads it to `benchmark.engines`",
            )
        try:
            found = model_digest(path.parent, self.files[stored])
        except OSError as error:
            raise StoreError("the model is missing", str(path), remedy) from error
        if found != self.digests[stored]:
            raise StoreError("the model is damaged or another one", str(path), remedy)
        return path


def write_answers(
    path: Path, examples: NDArray[np.generic], probabilities: NDArray[np.float32]
) -> None:
    """Write examples and the network's answers in one step."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, examples=examples, probabilities=probabilities)


def read_answers(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
    """Return examples and answers.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        with np.load(path) as stored:
            return stored["examples"], stored["probabilities"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise unreadable(path, error) from error

"""What every engine is: a loaded model that turns patches into probabilities."""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.engines.settings import EngineName
from lamella.export.description import ModelDescription
from lamella.settings import Device


class Engine(Protocol):
    """A loaded model, ready to run."""

    @property
    def name(self) -> EngineName:
        """Which engine it is."""
        ...

    @property
    def description(self) -> ModelDescription:
        """The model that is loaded."""
        ...

    def infer(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of a batch, in host memory, as an array of their own.

        Args:
            patches: ``(n, height, width, 3)`` uint8, RGB, as they lie in a shard. Not changed.

        Returns:
            ``(n, classes)``; ``(0, classes)`` for an empty batch.

        Raises:
            TypeError: the patches are not uint8.
            ValueError: the patches are not of the model's shape.
        """
        ...


class CheckedEngine(ABC):
    """What the engines share: the checks of a batch before the library sees it."""

    name: ClassVar[EngineName]

    def __init__(self, description: ModelDescription, *, device: Device, threads: int) -> None:
        self.description = description
        self.device = device
        self.threads = threads

    def infer(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of a batch; see ``Engine``."""
        check_batch(patches, self.description)
        if len(patches) == 0:
            return np.empty((0, len(self.description.classes)), dtype=np.float32)
        return self._run(np.ascontiguousarray(patches))

    @abstractmethod
    def _run(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of a checked, contiguous batch of at least one patch."""


def check_batch(patches: NDArray[np.uint8], description: ModelDescription) -> None:
    """Refuse a batch that the model was not made for.

    Raises:
        TypeError: the patches are not uint8.
        ValueError: the patches are not of the model's shape.
    """
    if patches.dtype != np.uint8:
        raise TypeError(f"patches must be uint8, RGB, 0-255; these are {patches.dtype}")
    expected = description.inputs[0].shape[1:]
    if patches.shape[1:] != expected:
        axes = ", ".join(str(length) for length in expected)
        raise ValueError(f"the model takes patches of shape (n, {axes}), not {patches.shape}")

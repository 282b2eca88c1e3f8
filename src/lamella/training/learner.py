"""A network that learns: the side of a training that belongs to a framework.

``Trainer`` goes through the samples and knows no framework; a learner knows no samples.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.batches import Batch
from lamella.datasets.targets import Targets
from lamella.models.weights import Weights
from lamella.patches.index import PatchIndex
from lamella.training.group import Group
from lamella.training.settings import Framework, RunSettings, TrainingSettings


class Learner(Protocol):
    """One rank's network and optimiser. Every rank calls the same methods, in one order."""

    @property
    def group(self) -> Group:
        """All ranks."""
        ...

    def start_learning(self, *, seed: int, random: Any = None) -> None:
        """Get ready for the steps of an epoch, or for those that it has left.

        Args:
            seed: Of all that the network draws in the epoch, such as dropout.
            random: What ``random_state`` returned in the middle of the epoch; it then counts.
        """
        ...

    def random_state(self) -> Any:
        """Return the state of the random generators, plain values and tensors."""
        ...

    def backward(self, batch: Batch) -> float:
        """Compute the gradients of this rank's batch, and begin to average them over the ranks.

        The loss is weighted such that the mean of the gradients over the ranks is the gradient of
        the joint batch's mean loss, also where ranks or parts have unequal numbers of samples.

        Returns:
            The sum of the samples' losses.
        """
        ...

    def step(self, rate: float) -> None:
        """Change the weights along the mean gradient of all ranks.

        Args:
            rate: The learning rate.
        """
        ...

    def share_statistics(self) -> None:
        """Make the running statistics of batch normalisation the same on all ranks: their mean.

        Each rank gathers them over its own samples; before the network is judged or stored, all
        take the mean, so that there is one network.
        """
        ...

    def answers(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers to patches, ``(n, outputs)``, in float32.

        They are probabilities, or numbers in the units of the slide table.

        Args:
            images: ``(n, size, size, 3)`` uint8, RGB.
        """
        ...

    def weights(self) -> Weights:
        """Return weights and buffers by name, as they are stored."""
        ...

    def statistics(self) -> Weights:
        """Return those that differ between the ranks within an epoch: running statistics."""
        ...

    def set_statistics(self, statistics: Weights) -> None:
        """Give this rank the statistics that ``statistics`` returned."""
        ...

    def share_weights(self, weights: Weights | None) -> None:
        """Give every rank these weights and buffers.

        Args:
            weights: What ``weights`` returned, on rank 0; the others' do not count.
        """
        ...

    def optimiser_state(self) -> dict[str, Any]:
        """Return what the optimiser keeps from step to step, the same on every rank."""
        ...

    def set_optimiser_state(self, state: dict[str, Any]) -> None:
        """Give the optimiser of this rank the state that ``optimiser_state`` returned."""
        ...


def build_learner(
    index: PatchIndex,
    targets: Targets,
    run: RunSettings,
    *,
    seed: int,
    training: TrainingSettings,
) -> Learner:
    """Return a learner at its beginning; all ranks have the same weights.

    Args:
        index: The patches.
        targets: What is learned of them.
        run: How the network is trained.
        seed: Seed of the weights that are drawn.
        training: Backend and device.

    Raises:
        TrainingError: the group cannot be joined, the network does not take the patches, its
            weights cannot be read, a pattern of ``freeze`` is wrong, or it is to be compiled and
            cannot be.
    """
    # Imported here: a framework takes seconds and memory, and one of them is used.
    if run.framework is Framework.TENSORFLOW:
        from lamella.training.keras_learner import KerasLearner

        return KerasLearner.build(index, targets, run, seed=seed, training=training)
    from lamella.training.torch_learner import TorchLearner

    return TorchLearner.build(index, targets, run, seed=seed, training=training)

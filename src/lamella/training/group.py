"""The processes that train one network together, as each of them (a rank) sees the others."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from lamella.training.settings import Backend

Value = TypeVar("Value")


class Group(Protocol):
    """What a rank and the others can do together. Every rank must call the same, in one order."""

    rank: int
    """Number of this process, from 0."""

    size: int
    """Number of processes."""

    def share_weights(self, network: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        ...

    def averaging(self, network: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Return both such that a backward pass and a step go along the mean of all gradients.

        Returns:
            What the forward pass in training goes through; it holds the parameters of ``network``.
            And what steps.
        """
        ...

    def step(self, optimiser: Optimizer) -> None:
        """Step, once the gradients of all ranks are averaged."""
        ...

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their mean over the ranks."""
        ...

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        ...

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, by rank."""
        ...


class SingleProcess:
    """A group of one."""

    rank = 0
    size = 1

    def share_weights(self, network: nn.Module) -> None:
        """Nobody to share with."""

    def averaging(self, network: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Return both as they are: the mean of one gradient is the gradient."""
        return network, optimiser

    def step(self, optimiser: Optimizer) -> None:
        """Step."""
        optimiser.step()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """The mean of one is itself."""

    def broadcast(self, value: Value) -> Value:
        """Return the value."""
        return value

    def gather(self, value: Value) -> list[Value]:
        """Return the value, as the only one."""
        return [value]


def join_group(backend: Backend) -> Group:
    """Return the group that this process belongs to.

    Raises:
        TrainingError: Horovod is asked for, but is not built, or no launcher started this process.
    """
    if backend is Backend.NONE:
        return SingleProcess()
    # Imported here: each backend is wanted only where it is chosen.
    if backend is Backend.TORCH:
        from lamella.training.torch_group import TorchGroup

        return TorchGroup()
    from lamella.training.horovod_group import HorovodGroup

    return HorovodGroup()


def average_statistics(network: nn.Module, group: Group) -> None:
    """Make the running statistics of batch normalisation the same on all ranks: their mean.

    Each rank gathers them over its own samples; before the network is judged or stored, all ranks
    take the mean, so that there is one network.
    """
    group.average([buffer for buffer in network.buffers() if buffer.is_floating_point()])

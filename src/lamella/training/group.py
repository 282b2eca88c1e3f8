"""The processes that train one network together, as each of them (a rank) sees the others."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamella.settings import Device
from lamella.training.arithmetic import Learner
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

    def replica(self, learner: Learner, *, parts: int) -> Learner:
        """Return what the forward pass in training goes through instead of the learner.

        Args:
            learner: From normalised images to logits.
            parts: Times that it is called before each step.
        """
        ...

    def averaging(self, optimiser: Optimizer, network: nn.Module, *, parts: int) -> Optimizer:
        """Return an optimiser that steps along the mean of all ranks' gradients.

        Args:
            optimiser: That of this rank.
            network: The network whose weights it changes.
            parts: Times that gradients are added up before each step.
        """
        ...

    def average_gradients(self, optimiser: Optimizer) -> None:
        """Wait until the gradients of an ``averaging`` optimiser are the mean of all ranks'."""
        ...

    def stepping(self, optimiser: Optimizer) -> AbstractContextManager[None]:
        """Return a block in which the optimiser steps along gradients that are averaged."""
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

    def replica(self, learner: Learner, *, parts: int) -> Learner:
        """Return the learner."""
        return learner

    def averaging(self, optimiser: Optimizer, network: nn.Module, *, parts: int) -> Optimizer:
        """Return the optimiser: the mean of one gradient is the gradient."""
        return optimiser

    def average_gradients(self, optimiser: Optimizer) -> None:
        """The mean of one gradient is the gradient."""

    def stepping(self, optimiser: Optimizer) -> AbstractContextManager[None]:
        """Nothing is different in the block."""
        return nullcontext()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """The mean of one is itself."""

    def broadcast(self, value: Value) -> Value:
        """Return the value."""
        return value

    def gather(self, value: Value) -> list[Value]:
        """Return the value, as the only one."""
        return [value]


def join_group(backend: Backend, device: Device = Device.CPU) -> Group:
    """Return the group that this process belongs to.

    Args:
        backend: How the processes exchange gradients.
        device: Where the gradients are.

    Raises:
        TrainingError: Horovod is asked for, but is not built, or not for that device, or no
            launcher started this process.
    """
    if backend is Backend.NONE:
        return SingleProcess()
    # Imported here: each backend is wanted only where it is chosen.
    if backend is Backend.TORCH:
        from lamella.training.torch_group import TorchGroup

        return TorchGroup(device)
    from lamella.training.horovod_group import HorovodGroup

    return HorovodGroup(device)


def told(group: Group, *flags: bool) -> list[bool]:
    """Return, on every rank and for every flag, whether any rank has raised it."""
    raised = torch.tensor([float(flag) for flag in flags])
    group.average([raised])
    return [share > 0.0 for share in raised.tolist()]


def average_statistics(network: nn.Module, group: Group) -> None:
    """Make the running statistics of batch normalisation the same on all ranks: their mean.

    Each rank gathers them over its own samples; before the network is judged or stored, all ranks
    take the mean, so that there is one network.
    """
    gathered = (
        buffer
        for module in network.modules()
        # Frozen ones are not gathered; a mean of equal numbers may differ from them.
        if module.training
        for buffer in module.buffers(recurse=False)
    )
    group.average([buffer for buffer in gathered if buffer.is_floating_point()])

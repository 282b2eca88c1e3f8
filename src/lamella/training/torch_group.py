"""Groups of ranks that train a network of torch: how they exchange gradients."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamella.settings import Device
from lamella.training.group import Group, SingleProcess
from lamella.training.settings import Backend
from lamella.training.torch_arithmetic import Forward


class TorchGroup(Group, Protocol):
    """A group whose ranks exchange gradients of torch."""

    def share_weights(self, network: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        ...

    def replica(self, forward: Forward, *, parts: int) -> Forward:
        """Return what the forward pass in training goes through instead.

        Args:
            forward: From normalised images to logits.
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


class SingleTorchProcess(SingleProcess):
    """A group of one."""

    def share_weights(self, network: nn.Module) -> None:
        """Nobody to share with."""

    def replica(self, forward: Forward, *, parts: int) -> Forward:
        """Return what it was given."""
        return forward

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


def join_torch_group(backend: Backend, device: Device = Device.CPU) -> TorchGroup:
    """Return the group that this process belongs to.

    Args:
        backend: How the processes exchange gradients.
        device: Where the gradients are.

    Raises:
        TrainingError: Horovod is asked for, but is not built, or not for that device, or no
            launcher started this process.
    """
    if backend is Backend.NONE:
        return SingleTorchProcess()
    # Imported here: each backend is wanted only where it is chosen.
    if backend is Backend.TORCH:
        from lamella.training.distributed_group import DistributedGroup

        return DistributedGroup(device)
    from lamella.training.horovod_torch_group import HorovodTorchGroup

    return HorovodTorchGroup(device)


def replace_by_mean(tensors: Sequence[Tensor], mean_of: Callable[[Tensor], Tensor]) -> None:
    """Replace float tensors by their mean over the ranks, in one exchange.

    Args:
        tensors: Of any shapes; none is no exchange.
        mean_of: Returns the mean of a tensor over the ranks.
    """
    if not tensors:
        return
    mean = mean_of(torch.cat([tensor.detach().flatten() for tensor in tensors]))
    parts = torch.split(mean, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def average_statistics(network: nn.Module, group: TorchGroup) -> None:
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

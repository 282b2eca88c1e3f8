"""The group of ranks that train a network of torch under Horovod."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamella.settings import Device
from lamella.training.horovod_group import HorovodGroup
from lamella.training.settings import Framework
from lamella.training.torch_arithmetic import Forward
from lamella.training.torch_group import replace_by_mean


class _Contiguous:
    """A "compression" of Horovod's: the order of axes in memory that it can exchange."""

    @staticmethod
    def compress(tensor: Tensor) -> tuple[Tensor, None]:
        """Return the tensor in that order, the same where it has it; and nothing to undo it by."""
        return tensor.contiguous(), None

    @staticmethod
    def decompress(tensor: Tensor, _: None) -> Tensor:
        """Return the tensor."""
        return tensor


class HorovodTorchGroup(HorovodGroup):
    """All ranks that were launched together; made once per process.

    Args:
        device: Where the gradients are.

    Raises:
        TrainingError: see ``HorovodGroup``.
    """

    def __init__(self, device: Device = Device.CPU) -> None:
        super().__init__(Framework.TORCH, device)

    def share_weights(self, network: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        state = network.state_dict()
        # Horovod takes no other order of axes; `contiguous` copies only what has one.
        sent = {name: tensor.contiguous() for name, tensor in state.items()}
        with self.waiting():
            self._horovod.broadcast_parameters(sent, root_rank=0)
        for name, tensor in state.items():
            tensor.copy_(sent[name])

    def replica(self, forward: Forward, *, parts: int) -> Forward:
        """Return what it was given: the optimiser averages."""
        return forward

    def averaging(self, optimiser: Optimizer, network: nn.Module, *, parts: int) -> Optimizer:
        """Return an optimiser that steps along the mean of all ranks' gradients.

        They are exchanged while the last part's are still computed. Its state is shared with
        ``load_state_dict(broadcast(...))``: Horovod's own ``broadcast_optimizer_state`` fills a
        fresh optimiser by taking a real step.
        """
        wrapped = self._horovod.DistributedOptimizer(
            optimiser,
            named_parameters=network.named_parameters(),
            backward_passes_per_step=parts,
            compression=_Contiguous,
        )
        return cast(Optimizer, wrapped)

    def average_gradients(self, optimiser: Optimizer) -> None:
        """Wait until the gradients of an ``averaging`` optimiser are the mean of all ranks'."""
        with self.waiting():
            cast(Any, optimiser).synchronize()

    def stepping(self, optimiser: Optimizer) -> AbstractContextManager[None]:
        """Return a block in which the optimiser steps along gradients that are averaged."""
        return cast(AbstractContextManager[None], cast(Any, optimiser).skip_synchronize())

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their mean over the ranks, in one exchange."""
        replace_by_mean(tensors, self._mean)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over the ranks."""
        return cast(list[float], self._mean(torch.tensor(numbers)).tolist())

    def _mean(self, tensor: Tensor) -> Tensor:
        with self.waiting():
            mean = self._horovod.allreduce(tensor, op=self._horovod.Average, name="average")
        return cast(Tensor, mean)

"""The group of ranks under Horovod; the launcher's half is ``lamella.training.horovod_meeting``."""

import faulthandler
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamella.errors import TrainingError
from lamella.settings import Device
from lamella.training.arithmetic import Learner
from lamella.training.meeting_place import EXCHANGE_LIMIT_VARIABLE

Value = TypeVar("Value")


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


class HorovodGroup:
    """All ranks that were launched together; made once per process.

    Args:
        device: Where the gradients are.

    Raises:
        TrainingError: Horovod was built without PyTorch, or without CUDA where the gradients are on
            a GPU, or no launcher started this process.
    """

    def __init__(self, device: Device = Device.CPU) -> None:
        import horovod.torch as horovod

        # The import succeeds even when the compiled part is missing; `init` is not there then.
        if not hasattr(horovod, "init"):
            raise TrainingError(
                "Horovod is installed without its PyTorch part",
                "training.backend: horovod",
                "Run `make setup`, which builds it, or set backend: none and processes: 1",
            )
        if device is Device.CUDA and not horovod.cuda_built():
            raise TrainingError(
                "Horovod was built without CUDA and cannot exchange what is on a GPU",
                "training.device: cuda",
                "Set backend: none and processes: 1, or device: cpu",
            )
        if "HOROVOD_RANK" not in os.environ:
            raise TrainingError(
                "the process was not started as one of several",
                "training.backend: horovod",
                "Start training with `python -m lamella.training`, which starts the processes",
            )
        self._limit_s = float(os.environ[EXCHANGE_LIMIT_VARIABLE])
        horovod.init()
        self._horovod = horovod
        self.rank: int = horovod.rank()
        self.size: int = horovod.size()

    def share_weights(self, network: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        state = network.state_dict()
        # Horovod takes no other order of axes; `contiguous` copies only what has one.
        sent = {name: tensor.contiguous() for name, tensor in state.items()}
        with self._limited():
            self._horovod.broadcast_parameters(sent, root_rank=0)
        for name, tensor in state.items():
            tensor.copy_(sent[name])

    def replica(self, learner: Learner, *, parts: int) -> Learner:
        """Return the learner: the optimiser averages."""
        return learner

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
        with self._limited():
            cast(Any, optimiser).synchronize()

    def stepping(self, optimiser: Optimizer) -> AbstractContextManager[None]:
        """Return a block in which the optimiser steps along gradients that are averaged."""
        return cast(AbstractContextManager[None], cast(Any, optimiser).skip_synchronize())

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their mean over the ranks, in one exchange."""
        if not tensors:
            return
        joined = torch.cat([tensor.detach().flatten() for tensor in tensors])
        with self._limited():
            mean = self._horovod.allreduce(joined, op=self._horovod.Average, name="average")
        parts = mean.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        # Without a name Horovod takes the value's type, which may differ between ranks: a deadlock.
        mine = value if self.rank == 0 else None
        with self._limited():
            return cast(Value, self._horovod.broadcast_object(mine, root_rank=0, name="broadcast"))

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, by rank."""
        with self._limited():
            return cast(list[Value], self._horovod.allgather_object(value, name="gather"))

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """End this process when an exchange takes too long, saying where it waited.

        The wait is inside Horovod, which no exception reaches. Its own limit
        (``HOROVOD_STALL_SHUTDOWN_TIME_SECONDS``) did not end an exchange that one rank stays away
        from.
        """
        faulthandler.dump_traceback_later(self._limit_s, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

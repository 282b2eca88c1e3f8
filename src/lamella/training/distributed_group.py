"""The group of ranks under ``torch.distributed``; gradients by DistributedDataParallel."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lamella.errors import TrainingError
from lamella.settings import Device
from lamella.training.meeting_place import (
    EXCHANGE_LIMIT_VARIABLE,
    LISTENING_VARIABLE,
    START_LIMIT_VARIABLE,
)
from lamella.training.torch_arithmetic import Forward
from lamella.training.torch_group import replace_by_mean

Value = TypeVar("Value")

_TRANSPORTS = {Device.CPU: "gloo", Device.CUDA: "cpu:gloo,cuda:nccl"}


class _Replica:
    """A rank's network, whose gradients become the mean of all ranks' with the last part."""

    def __init__(self, network: nn.Module, parts: int) -> None:
        # Buffers are the mean of the ranks, see `average_statistics`, not those of rank 0.
        self._network = DistributedDataParallel(network, forward_sync_buffers=False)
        self._parts = parts
        self._calls = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a part."""
        self._calls += 1
        is_last = self._calls % self._parts == 0
        with nullcontext() if is_last else self._network.no_sync():
            return cast(Tensor, self._network(images))


class DistributedGroup:
    """All ranks that were launched together; made once per process.

    An exchange that takes too long raises torch's ``RuntimeError``, which ends the rank.

    Args:
        device: Where the gradients are.

    Raises:
        TrainingError: no launcher started this process.
    """

    def __init__(self, device: Device = Device.CPU) -> None:
        if "RANK" not in os.environ:
            raise TrainingError(
                "the process was not started as one of several",
                "training.backend: torch",
                "Start training with `python -m lamella.training`, which starts the processes",
            )
        self.rank = int(os.environ["RANK"])
        self.size = int(os.environ["WORLD_SIZE"])
        start_limit = timedelta(seconds=float(os.environ[START_LIMIT_VARIABLE]))
        listening = os.environ.get(LISTENING_VARIABLE)
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            self.size,
            is_master=self.rank == 0,
            timeout=start_limit,
            master_listen_fd=int(listening) if listening else None,
        )
        distributed.init_process_group(
            _TRANSPORTS[device],
            store=store,
            rank=self.rank,
            world_size=self.size,
            timeout=start_limit,
        )
        # Only now: as they connect, ranks wait for each other as long as at the start.
        exchange_limit = timedelta(seconds=float(os.environ[EXCHANGE_LIMIT_VARIABLE]))
        world = distributed.group.WORLD
        assert world is not None
        world.set_timeout(exchange_limit)

    def share_weights(self, network: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        for tensor in network.state_dict().values():
            # Gloo takes no other order of axes; `contiguous` copies only what has one.
            sent = tensor.contiguous()
            distributed.broadcast(sent, src=0)
            tensor.copy_(sent)

    def replica(self, forward: Forward, *, parts: int) -> Forward:
        """Return it such that its backward pass averages the gradients."""
        return _Replica(cast(nn.Module, forward), parts)

    def averaging(self, optimiser: Optimizer, network: nn.Module, *, parts: int) -> Optimizer:
        """Return the optimiser: the backward pass averages."""
        return optimiser

    def average_gradients(self, optimiser: Optimizer) -> None:
        """The backward pass has ended with it."""

    def stepping(self, optimiser: Optimizer) -> AbstractContextManager[None]:
        """Nothing is different in the block."""
        return nullcontext()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their mean over the ranks, in one exchange."""
        replace_by_mean(tensors, self._mean)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over the ranks."""
        return cast(list[float], self._mean(torch.tensor(numbers)).tolist())

    def _mean(self, tensor: Tensor) -> Tensor:
        """Return the mean over the ranks; the tensor is overwritten."""
        distributed.all_reduce(tensor)
        return tensor / self.size

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        box = [value if self.rank == 0 else None]
        distributed.broadcast_object_list(box, src=0)
        return cast(Value, box[0])

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, by rank."""
        boxes: list[Value | None] = [None] * self.size
        distributed.all_gather_object(boxes, value)
        return cast(list[Value], boxes)

"""What ranks under Horovod share, whatever the framework; see ``lamella.training.horovod_meeting``.

Horovod has a compiled part for each framework, with a state of its own: a process speaks through
one of them.
"""

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar, cast

from lamella.errors import TrainingError
from lamella.settings import Device
from lamella.training.meeting_place import EXCHANGE_LIMIT_VARIABLE
from lamella.training.settings import Framework

Value = TypeVar("Value")

_PARTS = {Framework.TORCH: "horovod.torch", Framework.TENSORFLOW: "horovod.tensorflow"}


def _part_of(framework: Framework) -> Any:
    """Return Horovod's module for a framework.

    Raises:
        TrainingError: it was built without it.
    """
    try:
        part = import_module(_PARTS[framework])
    except ImportError as error:
        raise _not_built(framework) from error
    # The part for torch is imported without an error even then; `init` is not in it.
    if not hasattr(part, "init"):
        raise _not_built(framework)
    return part


def _not_built(framework: Framework) -> TrainingError:
    return TrainingError(
        f"Horovod is installed without its part for {framework}",
        "training.backend: horovod",
        "Run `make setup`, which builds it, or set backend: none and processes: 1",
    )


class HorovodGroup:
    """All ranks that were launched together; made once per process.

    Args:
        framework: The framework that trains.
        device: Where the gradients are.

    Raises:
        TrainingError: Horovod was built without the framework, or without CUDA where the gradients
            are on a GPU, or no launcher started this process.
    """

    def __init__(self, framework: Framework, device: Device) -> None:
        horovod = _part_of(framework)
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

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        # Without a name Horovod takes the value's type, which may differ between ranks: a deadlock.
        mine = value if self.rank == 0 else None
        with self.waiting():
            return cast(Value, self._horovod.broadcast_object(mine, root_rank=0, name="broadcast"))

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, by rank."""
        with self.waiting():
            return cast(list[Value], self._horovod.allgather_object(value, name="gather"))

    @contextmanager
    def waiting(self) -> Iterator[None]:
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

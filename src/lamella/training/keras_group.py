"""Groups of ranks that train a network of Keras by TensorFlow: how they exchange gradients."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast

from lamella.models.keras_library import load_tensorflow
from lamella.settings import Device
from lamella.training.group import Group, SingleProcess
from lamella.training.horovod_group import HorovodGroup
from lamella.training.settings import Backend, Framework

tf = load_tensorflow()


class KerasGroup(Group, Protocol):
    """A group whose ranks exchange tensors of TensorFlow."""

    def share_variables(self, variables: Sequence[Any]) -> None:
        """Give every rank the values that rank 0 has in these variables of Keras."""
        ...

    def average_variables(self, variables: Sequence[Any]) -> None:
        """Replace the values of variables of Keras by their mean over the ranks."""
        ...

    def mean_of(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the mean of each tensor over the ranks; called while a graph is made.

        Each is exchanged as soon as it is there, while the graph computes the others.
        """
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Return a block that ends this process when it waits too long for the others."""
        ...


class SingleKerasProcess(SingleProcess):
    """A group of one."""

    def share_variables(self, variables: Sequence[Any]) -> None:
        """Nobody to share with."""

    def average_variables(self, variables: Sequence[Any]) -> None:
        """The mean of one is itself."""

    def mean_of(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the tensors: the mean of one gradient is the gradient."""
        return list(tensors)

    def waiting(self) -> AbstractContextManager[None]:
        """There is nobody to wait for."""
        return nullcontext()


class HorovodKerasGroup(HorovodGroup):
    """All ranks that were launched together; made once per process.

    Horovod's own wrapper of Keras' optimisers averages nothing under Keras 3, in silence: here
    gradients are averaged where they are computed.

    Args:
        device: Where the gradients are.

    Raises:
        TrainingError: see ``HorovodGroup``.
    """

    def __init__(self, device: Device = Device.CPU) -> None:
        super().__init__(Framework.TENSORFLOW, device)

    def share_variables(self, variables: Sequence[Any]) -> None:
        """Give every rank the values that rank 0 has in these variables."""
        with self.waiting():
            # Horovod takes TensorFlow's variables, which those of Keras hold.
            self._horovod.broadcast_variables([each.value for each in variables], root_rank=0)

    def average_variables(self, variables: Sequence[Any]) -> None:
        """Replace the values of variables by their mean over the ranks."""
        if not variables:
            return
        with self.waiting():
            means = self._horovod.grouped_allreduce(
                [each.value for each in variables], op=self._horovod.Average
            )
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)

    def mean_of(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the mean of each tensor over the ranks."""
        average = self._horovod.Average
        return [
            self._horovod.allreduce(tensor, op=average, name=f"gradient_{number}")
            for number, tensor in enumerate(tensors)
        ]

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over the ranks."""
        with self.waiting():
            found = self._horovod.allreduce(
                tf.constant(numbers, tf.float32),
                op=self._horovod.Average,
                name="mean",
            )
        return cast(list[float], found.numpy().tolist())


def join_keras_group(backend: Backend, device: Device = Device.CPU) -> KerasGroup:
    """Return the group that this process belongs to; arguments and errors of ``HorovodGroup``."""
    if backend is Backend.NONE:
        return SingleKerasProcess()
    if backend is Backend.HOROVOD:
        return HorovodKerasGroup(device)
    raise ValueError(f"backend {backend} does not exchange gradients of TensorFlow")

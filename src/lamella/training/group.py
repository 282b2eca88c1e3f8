"""The processes that train one network together, as each of them (a rank) sees the others.

This is what every group can do. How gradients are exchanged is the framework's matter: see
``lamella.training.torch_group`` and ``lamella.training.keras_group``.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

Value = TypeVar("Value")


class Group(Protocol):
    """What a rank and the others can do together. Every rank must call the same, in one order."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean of each number over the ranks; they are rounded to float32."""
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

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the numbers: the mean of one is itself."""
        return list(numbers)

    def broadcast(self, value: Value) -> Value:
        """Return the value."""
        return value

    def gather(self, value: Value) -> list[Value]:
        """Return the value, as the only one."""
        return [value]


def told(group: Group, *flags: bool) -> list[bool]:
    """Return, on every rank and for every flag, whether any rank has raised it."""
    return [share > 0.0 for share in group.mean([float(flag) for flag in flags])]

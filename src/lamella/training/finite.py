"""Figures that left the range of numbers end a training, on all ranks at once."""

import math

from lamella.errors import TrainingError
from lamella.training.group import Group, told


def check_finite(loss: float, group: Group, where: str, *wishes: bool) -> list[bool]:
    """Check the losses of all ranks, on all ranks: none is left waiting for one that gave up.

    Args:
        loss: This rank's.
        group: The ranks.
        where: Epoch and step.
        wishes: What this rank would like to do after the step; they go in the same exchange.

    Returns:
        For every wish whether any rank has it.

    Raises:
        TrainingError: one is infinite or not a number.
    """
    broken, *agreed = told(group, not math.isfinite(loss), *wishes)
    if broken:
        raise not_finite("the loss", where)
    return agreed


def not_finite(what: str, where: str) -> TrainingError:
    """Return the error of a training whose figures left the range of numbers."""
    return TrainingError(
        f"{what} is infinite or not a number",
        where,
        "Lower learning_rate of the run, or raise its warmup_share",
    )

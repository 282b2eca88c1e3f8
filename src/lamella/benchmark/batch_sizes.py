"""Several batch sizes are measured, of which an engine may fail at some."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from lamella.errors import EngineUnavailableError

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def measure_sizes(
    batch_sizes: Iterable[int], measure: Callable[[int], Result]
) -> tuple[tuple[Result, ...], dict[int, str]]:
    """Measure every batch size; one that the engine fails at does not take the others with it.

    Args:
        batch_sizes: Patches per call.
        measure: Measures one of them.

    Returns:
        What was measured, and why a batch size could not be, by its number.

    Raises:
        EngineUnavailableError: the engine fails at all of them.
    """
    results: list[Result] = []
    failures: dict[int, str] = {}
    for batch_size in batch_sizes:
        try:
            results.append(measure(batch_size))
        except EngineUnavailableError as error:
            # Not the error, which would keep the batch and what was computed of it in memory.
            failures[batch_size] = error.what
            _log.warning("batch %d cannot be measured: %s", batch_size, error.what)
    if not results:
        raise EngineUnavailableError(
            next(iter(failures.values())), "every batch size", "Choose smaller ones"
        )
    return tuple(results), failures

"""Some items of a workload, whose answers are held against the network's."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.engines.difference import largest_difference
from lamella.engines.engine import CheckedEngine
from lamella.workloads.labels import most_probable

Answers = tuple[NDArray[Any], NDArray[np.float32]]
"""Examples, and the network's answers to them."""


def example_places(items: int, most: int) -> NDArray[np.int64]:
    """Return places among the items, the first and the last and others evenly between them."""
    return np.linspace(0, items - 1, min(most, items)).astype(np.int64)


def compare_examples(
    engine: CheckedEngine, answers: Answers, batch_size: int
) -> tuple[float, float, int]:
    """Return how far an engine's answers to the examples are from the network's.

    Args:
        engine: A loaded engine.
        answers: Examples with the network's answers.
        batch_size: Examples per call.

    Returns:
        The largest difference of a probability, NaN where an answer is NaN; the share of equal
        classes; and of how many, each example counted once.
    """
    examples, expected = answers
    differences, equal, answered = [], 0, 0
    # Call by call, for answers to volumes are large.
    for rows in full_batches(len(examples), batch_size):
        (found,), wanted = engine.run((examples[rows],)), expected[rows]
        differences.append(largest_difference(found, wanted))
        # What fills the last batch was counted before.
        same = (found.argmax(axis=-1) == wanted.argmax(axis=-1))[: len(examples) - rows[0]]
        equal += int(np.count_nonzero(same))
        answered += same.size
    # Not Python's own maximum, which may lose a NaN.
    return float(np.max(differences)), equal / answered, answered


def full_batches(n: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows of full batches that hold all of ``n``; the last is filled up from the start."""
    for start in range(0, n, batch_size):
        yield np.arange(start, start + batch_size) % n


def reference_difference(
    found: Sequence[NDArray[Any]], probabilities: NDArray[np.float32]
) -> float:
    """Return how far the result of a run is from the network's answers.

    Args:
        found: Its labels or probabilities of each example that it had, from the first on; at the
            border of a volume those within.
        probabilities: The network's answers to all examples.

    Returns:
        Of labels the share that is another one; of probabilities the largest difference, NaN where
        one is NaN.
    """
    pairs = list(zip(found, probabilities, strict=False))
    if not np.issubdtype(found[0].dtype, np.integer):
        return float(np.max([largest_difference(part, wanted) for part, wanted in pairs]))
    others = sum(np.count_nonzero(part != _within(wanted, part.shape)) for part, wanted in pairs)
    return others / sum(part.size for part in found)


def _within(probabilities: NDArray[np.float32], lengths: tuple[int, ...]) -> NDArray[np.uint8]:
    return most_probable(probabilities[tuple(slice(length) for length in lengths)])

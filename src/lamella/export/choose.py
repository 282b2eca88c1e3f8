"""Choose the seed of a run whose network is exported."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamella.errors import ExportError
from lamella.export.settings import SelectionMetric
from lamella.stores.json_files import read_json

_LOSS = "loss"


@dataclass(frozen=True)
class Candidate:
    """One trained seed of a run.

    Attributes:
        metrics: Its ``metrics.json``.
        seed: The seed.
        metric: The validation figure by which seeds are compared.
        value: That figure; ``None`` where it could not be measured.
        index_digest: Digest of the patches it was trained on.
    """

    metrics: Path
    seed: int
    metric: str
    value: float | None
    index_digest: str

    @property
    def goodness(self) -> float:
        """The figure, the higher the better; there must be one."""
        assert self.value is not None
        return -self.value if self.metric == _LOSS else self.value


def choose_seed(metrics: Sequence[Path], metric: SelectionMetric) -> Candidate:
    """Return the seed with the highest validation figure, the lowest seed among equals.

    Runs that learn numbers do not have these figures: of theirs the one with the lowest validation
    loss is returned. A single seed is no choice: it is returned without a figure, too. The figure
    is missing where a class has no patch in the validation split.

    Args:
        metrics: ``metrics.json`` of every seed of one run.
        metric: The figure.

    Raises:
        ExportError: there are several seeds and none has this figure.
    """
    candidates = [read_candidate(path, metric) for path in metrics]
    if len(candidates) == 1:
        return candidates[0]
    measured = [(each.goodness, -each.seed, each) for each in candidates if each.value is not None]
    if not measured:
        raise ExportError(
            f"none of the {len(metrics)} seeds has a validation {metric}",
            ", ".join(str(path) for path in metrics),
            "Choose another `export.metric`, or a split whose validation part holds every class",
        )
    return max(measured, key=lambda each: each[:2])[2]


def read_candidate(path: Path, metric: SelectionMetric) -> Candidate:
    """Return what a ``metrics.json`` says about its seed."""
    figures: dict[str, Any] = read_json(path)
    found = metric.value if metric.value in figures["validation"] else _LOSS
    value = figures["validation"][found]
    return Candidate(
        metrics=path,
        seed=int(figures["seed"]),
        metric=found,
        value=None if value is None or math.isnan(value) else float(value),
        index_digest=str(figures["index_digest"]),
    )

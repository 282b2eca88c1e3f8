"""Compare two runs: is one better than the other by more than chance?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lamella.datasets.settings import TargetKind
from lamella.errors import StoreError
from lamella.evaluation.aggregation import SCORE_AGGREGATION
from lamella.evaluation.answers import Answers
from lamella.evaluation.levels import Level, find_units, patient_numbers
from lamella.evaluation.permutation import Difference, paired_permutation
from lamella.stores.json_files import read_json
from lamella.training.result_files import METRICS, PREDICTIONS, learned_kind

COMPARED = ("auc", "average_precision", "balanced_accuracy")
"""The metrics that are compared: those that a rare class does not hide behind a frequent one."""

_SAMPLES = ["split", "slide", "x", "y", "label"]


@dataclass(frozen=True)
class Comparison:
    """Two runs in one metric.

    Attributes:
        split: ``validation`` or ``test``.
        level: ``patch``, ``slide`` or ``patient``.
        metric: One of ``COMPARED``.
        difference: The metric of both runs, the mean over the seeds, and its p-value.
    """

    split: str
    level: str
    metric: str
    difference: Difference


@dataclass(frozen=True)
class _Training:
    """One seed of a run: its predictions, and the content of its ``metrics.json``."""

    predictions: pd.DataFrame
    metrics: dict[str, Any]


def compare_runs(first: Path, second: Path) -> list[Comparison]:
    """Return how two runs differ, patches, slides and patients.

    Seeds that both runs have are compared with each other, and their mean difference is tested.

    Args:
        first: Folder of a run, with ``seed…/predictions.parquet`` in it.
        second: Folder of another run on the same patches.

    Returns:
        One entry for each metric that is defined.

    Raises:
        StoreError: a run has no finished training, no seed in common with the other, was judged on
            other patches, or has learned something else than classes.
    """
    seeds = _common_seeds(first, second)
    pairs = [(_read(first / seed), _read(second / seed)) for seed in seeds]
    for one, other in pairs:
        _check_classes(one, first)
        _check_classes(other, second)
        _check_same_patches(one, other, second)
    return [
        Comparison(split, level, metric, differences[metric])
        for split in ("validation", "test")
        for level in ("patch", *(level.value for level in Level))
        for differences in [_differences(pairs, split, level)]
        for metric in COMPARED
        if metric in differences
    ]


def _common_seeds(first: Path, second: Path) -> list[str]:
    found = [{path.parent.name for path in run.glob(f"seed*/{METRICS}")} for run in (first, second)]
    for run, seeds in zip((first, second), found, strict=True):
        if not seeds:
            raise StoreError(
                "there is no finished training",
                str(run),
                "Name the folder of a run, such as results/train/resnet50",
            )
    if not found[0] & found[1]:
        raise StoreError(
            f"no seed is in both: {', '.join(sorted(found[0]))} there, "
            f"{', '.join(sorted(found[1]))} here",
            str(second),
            "Train both runs with one seed at least",
        )
    return sorted(found[0] & found[1])


def _read(folder: Path) -> _Training:
    return _Training(pd.read_parquet(folder / PREDICTIONS), read_json(folder / METRICS))


def _check_classes(training: _Training, where: Path) -> None:
    kind = learned_kind(training.metrics)
    if kind is not TargetKind.CLASSES:
        raise StoreError(
            f"the run has learned {kind}, and only runs that learn classes are compared",
            str(where),
            "Compare the intervals in metrics.json",
        )


def _check_same_patches(first: _Training, second: _Training, where: Path) -> None:
    if not first.predictions[_SAMPLES].equals(second.predictions[_SAMPLES]):
        raise StoreError(
            "the runs were judged on different patches",
            str(where),
            "Train both on the same patches and splits",
        )


def _differences(
    pairs: Sequence[tuple[_Training, _Training]], split: str, level: str
) -> dict[str, Difference]:
    answers = [tuple(_answers(each, split, level) for each in pair) for pair in pairs]
    found = [(one, other) for one, other in answers if one is not None and other is not None]
    return paired_permutation(found) if found else {}


def _answers(training: _Training, split: str, level: str) -> Answers | None:
    """Return the answers to one split; ``None`` where nothing can be said of this level."""
    classes = training.metrics["classes"]
    table = training.predictions[training.predictions["split"] == split]
    columns = [f"probability_{name}" for name in classes]
    probabilities = table[columns].to_numpy(np.float32)
    if level == "patch":
        return Answers(table["label"].to_numpy(np.int64), probabilities, patient_numbers(table))
    if training.metrics[split][level][SCORE_AGGREGATION] is None:
        return None
    units = find_units(table, Level(level), classes)
    return units.answers(probabilities, SCORE_AGGREGATION)


def comparison_lines(comparisons: Sequence[Comparison], first: str, second: str) -> Iterator[str]:
    """Yield a table for people, a line each."""
    width = max(len(first), len(second), 8)
    yield f"{'split':<11}{'level':<9}{'metric':<19}{first:>{width}}  {second:>{width}}  {'p':>6}"
    for each in comparisons:
        found = each.difference
        yield (
            f"{each.split:<11}{each.level:<9}{each.metric:<19}"
            f"{found.first:>{width}.4f}  {found.second:>{width}.4f}  {found.p:>6.3f}"
        )

"""Put the metrics of all runs into one table: mean and standard deviation over the seeds."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lamella.evaluation.aggregation import SCORE_AGGREGATION, Aggregation
from lamella.evaluation.levels import Level
from lamella.stores.json_files import read_json
from lamella.stores.tables import write_table

_logger = logging.getLogger(__name__)

_SPLITS = ("validation", "test")
_LEVELS = {
    "": (),
    **{f"{level}_": (level.value, SCORE_AGGREGATION.value) for level in Level},
}
"""What stands before the name of a figure, and where in an evaluation it is found."""

_LEVELS_OF_NUMBERS = {
    "": (),
    **{f"{level}_": (level.value, Aggregation.MEAN.value) for level in Level},
}
"""The same of numbers, of which only means are made."""

FIGURES: dict[str, tuple[str, ...]] = {
    **{
        f"{split}_{metric}": (split, metric)
        for split in _SPLITS
        for metric in (
            *("auc", "average_precision", "accuracy", "balanced_accuracy", "precision", "f1"),
            *("ece", "loss"),
        )
    },
    **{
        f"{split}_{level}_auc": (split, level.value, SCORE_AGGREGATION.value, "auc")
        for split in _SPLITS
        for level in Level
    },
    **{
        f"{split}_{level}{metric}": (split, *place, metric)
        for split in _SPLITS
        for level, place in _LEVELS_OF_NUMBERS.items()
        for metric in ("mae", "rmse", "r2", "pearson")
    },
    "seconds_per_epoch": ("timings", "seconds_per_epoch"),
    "samples_per_s": ("timings", "samples_per_s"),
}
"""Column, and where its value stands in ``metrics.json``."""

INTERVALS: dict[str, tuple[str, ...]] = {
    f"{split}_{name}{metric}": (split, *place, "intervals", metric)
    for metric, levels in (("auc", _LEVELS), ("r2", _LEVELS_OF_NUMBERS))
    for split in _SPLITS
    for name, place in levels.items()
}
"""Figure with a 95 % interval, and where its limits stand in ``metrics.json``."""

COLUMNS = (
    *("run", "model", "seeds"),
    *(f"{figure}_{kind}" for figure in FIGURES for kind in ("mean", "sd")),
    *(f"{figure}_{kind}" for figure in INTERVALS for kind in ("low", "high")),
)


def summarise_runs(metrics: Sequence[Path], output: Path) -> None:
    """Write ``summary.tsv``: one row per run, in the order in which runs first appear.

    Args:
        metrics: ``metrics.json`` of every run and seed.
        output: The table.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    for path in metrics:
        content = read_json(path)
        runs.setdefault(content["run"], []).append(content)
    write_table(output, COLUMNS, [summary_row(seeds) for seeds in runs.values()])
    _logger.info("%d runs, %d trainings", len(runs), len(metrics))


def summary_row(seeds: Sequence[dict[str, Any]]) -> dict[str, object]:
    """Return mean and sample standard deviation of every figure over the seeds of one run.

    The limits of an interval are the means of the seeds' limits: it tells how sure one network's
    figure is. A figure that is undefined for a seed has empty cells; one seed has no standard
    deviation.
    """
    row: dict[str, object] = {
        "run": seeds[0]["run"],
        "model": seeds[0]["settings"]["model"],
        "seeds": len(seeds),
    }
    for figure, place in FIGURES.items():
        values = [_found(seed, place) for seed in seeds]
        if None in values:
            continue
        row[f"{figure}_mean"] = round(fmean(values), 6)
        row[f"{figure}_sd"] = round(stdev(values), 6) if len(values) > 1 else None
    for figure, place in INTERVALS.items():
        limits = [_found(seed, place) for seed in seeds]
        if None not in limits:
            low, high = (round(fmean(side), 6) for side in zip(*limits, strict=True))
            row |= {f"{figure}_low": low, f"{figure}_high": high}
    return row


def _found(content: Any, place: Sequence[str]) -> Any:
    """Return what stands in a place of ``metrics.json``; ``None`` where there is no such figure."""
    for key in place:
        if content is None:
            return None
        content = content.get(key)
    return content

"""Put the metrics of all runs into one table: mean and standard deviation over the seeds."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lamella.stores.json_files import read_json
from lamella.stores.tables import write_table

_logger = logging.getLogger(__name__)

FIGURES = {
    **{
        f"{split}_{metric}": (split, metric)
        for split in ("validation", "test")
        for metric in ("auc", "average_precision", "accuracy", "balanced_accuracy", "loss")
    },
    "seconds_per_epoch": ("timings", "seconds_per_epoch"),
    "samples_per_s": ("timings", "samples_per_s"),
}
"""Column, and where its value stands in ``metrics.json``."""

COLUMNS = (
    *("run", "model", "seeds"),
    *(f"{figure}_{kind}" for figure in FIGURES for kind in ("mean", "sd")),
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

    A figure that is undefined for a seed has an empty mean; one seed has no standard deviation.
    """
    row: dict[str, object] = {
        "run": seeds[0]["run"],
        "model": seeds[0]["settings"]["model"],
        "seeds": len(seeds),
    }
    for figure, (part, key) in FIGURES.items():
        values = [seed[part][key] for seed in seeds]
        if None in values:
            continue
        row[f"{figure}_mean"] = round(fmean(values), 6)
        row[f"{figure}_sd"] = round(stdev(values), 6) if len(values) > 1 else None
    return row

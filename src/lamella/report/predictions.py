"""The predicted slides: heatmaps and scores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.cohort.settings import Split
from lamella.fleet.manifest import Status
from lamella.report.pictures import heatmap_picture
from lamella.stores.tables import Row, read_table

MOST_HEATMAPS = 100
"""More would make the page slow to open and hard to send."""

_WIDTH_PX = 520
_FIRST = [Split.TEST, Split.VALIDATION, Split.TRAIN]


@dataclass(frozen=True)
class HeatmapEntry:
    """One slide's heatmap.

    Attributes:
        row: Its row of the scores.
        picture: Data URI.
        link: The file itself, relative to the page.
    """

    row: Row
    picture: str
    link: str


@dataclass(frozen=True)
class PredictionEntry:
    """The predictions of one run.

    Attributes:
        run: Its name.
        scores: All predicted slides, held-out ones first, the highest score first.
        remarks: Why slides have no score, without repeats.
        heatmaps: The same order.
        left_out: Number of heatmaps left out for length.
        folder: Where all of them are, relative to the page.
    """

    run: str
    scores: list[Row]
    remarks: list[str]
    heatmaps: list[HeatmapEntry]
    left_out: int
    folder: str


def prediction_section(
    tables: Sequence[Path], page: Path, *, most: int = MOST_HEATMAPS
) -> list[PredictionEntry]:
    """Return the predictions, one entry per run.

    Args:
        tables: ``scores.tsv`` of every run, ``heatmaps/`` beside each.
        page: Where the page will be.
        most: Most heatmaps of a run.
    """
    return [_entry(path, page, most) for path in tables]


def _entry(path: Path, page: Path, most: int) -> PredictionEntry:
    predicted = [row for row in read_table(path) if row["status"] == Status.DONE]
    scores = sorted(predicted, key=_held_out_and_high)
    folder = path.parent / "heatmaps"
    files = [(row, folder / f"{row['slide']}.png") for row in scores[:most]]
    return PredictionEntry(
        run=path.parent.name,
        scores=scores,
        remarks=list(dict.fromkeys(row["remark"] for row in scores if row["remark"])),
        heatmaps=[
            HeatmapEntry(row, heatmap_picture(file, width_px=_WIDTH_PX), _link(file, page))
            for row, file in files
        ],
        left_out=len(scores) - len(files),
        folder=_link(folder, page),
    )


def _held_out_and_high(row: Row) -> tuple[int, float, str]:
    return _FIRST.index(Split(row["split"])), -float(row["score"] or 0), row["slide"]


def _link(file: Path, page: Path) -> str:
    return os.path.relpath(file, page.parent)

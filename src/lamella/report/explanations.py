"""The explained patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from lamella.datasets.settings import TargetKind
from lamella.interpret.about import ABOUT, read_kind, read_reason
from lamella.report.pictures import small_picture
from lamella.stores.tables import Row, read_table

MOST_PER_CLASS = 24
"""More would make the page slow to open and hard to send."""

_WIDTH_PX = 460
_ANSWERS = {
    TargetKind.CLASSES: "probability",
    TargetKind.MULTI_LABEL: "probability",
    TargetKind.REGRESSION: "value",
}


@dataclass(frozen=True)
class ExplanationEntry:
    """One explained patch."""

    row: Row
    picture: str


@dataclass(frozen=True)
class ClassEntry:
    """The explained patches of one class.

    Attributes:
        label: Name of the class.
        patches: The patches, the most certain first.
        mean_lift: Mean over all of them of what the map has on dark pixels against chance.
        left_out: Number of patches left out for length.
    """

    label: str
    patches: list[ExplanationEntry]
    mean_lift: str
    left_out: int


@dataclass(frozen=True)
class RunExplanations:
    """The explained patches of one run.

    Attributes:
        run: Its name.
        classes: Its classes that have explained patches.
        answer: What a patch's answer is: a probability or a value.
        reason: Why there is none; empty where the test split merely has no labelled patch.
    """

    run: str
    classes: list[ClassEntry]
    answer: str
    reason: str


def explanation_section(
    tables: Sequence[Path], *, most: int = MOST_PER_CLASS
) -> list[RunExplanations]:
    """Return the explanations, one entry per run.

    Args:
        tables: ``explanations.tsv`` of every run, ``about.json`` beside each.
        most: Most patches of a class.
    """
    return [
        RunExplanations(
            run=path.parent.parent.name,
            classes=_classes(path, most),
            answer=_ANSWERS[read_kind(path.with_name(ABOUT))],
            reason=read_reason(path.with_name(ABOUT)),
        )
        for path in tables
    ]


def _classes(path: Path, most: int) -> list[ClassEntry]:
    by_label: dict[str, list[Row]] = {}
    for row in read_table(path):
        by_label.setdefault(row["label"], []).append(row)
    return [_class(label, rows, path.parent, most) for label, rows in by_label.items()]


def _class(label: str, rows: list[Row], folder: Path, most: int) -> ClassEntry:
    lifts = [float(row["lift"]) for row in rows if row["lift"]]
    return ClassEntry(
        label=label,
        patches=[
            ExplanationEntry(row, small_picture(folder / row["file"], width_px=_WIDTH_PX))
            for row in rows[:most]
        ],
        mean_lift=f"{fmean(lifts):.2f}" if lifts else "–",
        left_out=max(0, len(rows) - most),
    )

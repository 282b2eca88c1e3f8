"""What spoils the slides, and which of them it spoils most."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lamella.stores.tables import read_table
from lamella.tissue.quality import COLUMNS

MOST_NAMED = 10
"""Slides of each kind that are named; the table of the cohort marks them and has all others."""

LEAST_SHARE = 0.01
"""Less than this is a speck: no slide is named for it."""

SPOILERS = {
    "pen_share": ("Pen", "the slide"),
    "gap_share": ("Gaps", "the slide"),
    "fold_share": ("Folds", "the tissue found"),
    "blur_share": ("Blur", "the tissue judged"),
}
"""What is found on slides, and of what it is a share."""

Shares = dict[str, float]


@dataclass(frozen=True)
class Spoiled:
    """The slides that are spoiled most in one way.

    Attributes:
        name: What spoils them.
        whole: What the shares are shares of.
        measured: Number of slides on which it was measured.
        median_share: Median of their shares; ``None`` where none was measured.
        affected: Number of slides with at least ``LEAST_SHARE``.
        worst: The first of them and their shares, the largest first.
    """

    name: str
    whole: str
    measured: int
    median_share: float | None
    affected: int
    worst: Shares


def read_shares(quality: Path) -> dict[str, Shares]:
    """Return of each slide the shares that were measured, 0-1, by column of the table."""
    names = [name for name in COLUMNS if name.endswith("_share")]
    return {
        row["slide"]: {name: float(row[name]) for name in names if row[name]}
        for row in read_table(quality)
    }


def most_spoiled(shares: Mapping[str, Shares], *, most: int = MOST_NAMED) -> dict[str, Spoiled]:
    """Return of each column of ``SPOILERS`` the slides that have most of it.

    Args:
        shares: Measured shares of each slide.
        most: Most slides of a kind.
    """
    return {column: _spoiled(column, shares, most) for column in SPOILERS}


def _spoiled(column: str, shares: Mapping[str, Shares], most: int) -> Spoiled:
    name, whole = SPOILERS[column]
    found = {slide: of[column] for slide, of in shares.items() if column in of}
    affected = [slide for slide, share in found.items() if share >= LEAST_SHARE]
    # Sorting is stable: equal shares stay in table order.
    worst = sorted(affected, key=lambda slide: -found[slide])[:most]
    return Spoiled(
        name=name,
        whole=whole,
        measured=len(found),
        median_share=median(found.values()) if found else None,
        affected=len(affected),
        worst={slide: found[slide] for slide in worst},
    )

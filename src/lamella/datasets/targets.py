"""What is true of patches, and learned: classes, labels that do not exclude each other, or numbers.

The class of a patch stands in the index; labels and numbers stand in the slide table, and every
patch of a slide is given them. Losses, of a sample whose ``k`` columns may be unknown in part:

===============  ===========================================================================
``classes``      cross entropy
``multi_label``  sum of the binary cross entropies of its known labels, divided by ``k``
``regression``   sum of the squared errors of its known values, standardised, divided by ``k``
===============  ===========================================================================
"""

import difflib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lamella.cohort.settings import Split
from lamella.cohort.table import COLUMNS, Slide, read_slides
from lamella.datasets.settings import TargetKind, TargetSettings
from lamella.errors import CohortError, CohortErrors, SettingsError
from lamella.patches.index import PatchIndex

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Scale:
    """The units of the numbers that are learned; a network learns them standardised.

    Attributes:
        means: ``(k,)``.
        deviations: ``(k,)`` standard deviations.
    """

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Return mean and standard deviation of the known values of each column.

        Args:
            values: ``(n, k)``, NaN where unknown. A column that is all unknown has neither: NaN.
        """
        known = [column[~np.isnan(column)] for column in values.T.astype(np.float64)]
        return cls(
            means=np.array([column.mean() if len(column) else math.nan for column in known]),
            deviations=np.array([column.std() if len(column) else math.nan for column in known]),
        )


@dataclass(frozen=True)
class Targets:
    """What is true of some samples: patches, slides or patients.

    Attributes:
        kind: What it is.
        names: Of a network's outputs: the classes, or the columns of the slide table.
        truth: With ``classes`` ``(n,)`` int64, -1 where unknown. Else ``(n, k)``, NaN where
            unknown: 0 or 1 of each label, or a number in the units of the table.
        scale: With ``regression`` mean and deviation of the training patches; else ``None``.
    """

    kind: TargetKind
    names: tuple[str, ...]
    truth: NDArray[np.int64] | NDArray[np.floating]
    scale: Scale | None = None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which samples are learned from and judged, ``(n,)``: something is known of them."""
        if self.kind is TargetKind.CLASSES:
            return np.asarray(self.truth >= 0)
        return np.asarray(~np.isnan(self.truth).all(axis=1))

    @property
    def learned(self) -> NDArray[np.int64] | NDArray[np.float32]:
        """What a network is given: as ``truth``, but numbers standardised; else in float32."""
        if self.kind is TargetKind.CLASSES:
            return self.truth.astype(np.int64)
        exact = self.truth.astype(np.float64)
        if self.scale is not None:
            exact = (exact - self.scale.means) / self.scale.deviations
        return exact.astype(np.float32)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is true; it changes with any cell that a patch is given."""
        content = hashlib.sha256(repr((str(self.kind), self.names, self.truth.shape)).encode())
        content.update(np.ascontiguousarray(self.truth).tobytes())
        return content.hexdigest()

    def take(self, rows: NDArray[np.int64]) -> "Targets":
        """Return what is true of some of the samples, in the order of ``rows``."""
        return Targets(self.kind, self.names, self.truth[rows], self.scale)


def read_targets(settings: TargetSettings, index: PatchIndex, slides: Path | None) -> Targets:
    """Return what is true of every patch of an index, row by row.

    Args:
        settings: What is learned.
        index: The patches; of ``classes`` nothing else is read.
        slides: The slide table, ``results/cohort/slides.tsv``; ``None`` will do for ``classes``.

    Raises:
        SettingsError: columns are to be learned, and no table is named.
        CohortErrors: the table cannot be read, says what cannot be learned (see ``slide_truth``),
            or lacks a slide of the index. All bad cells are named at once, each with its line.
    """
    if settings.kind is TargetKind.CLASSES:
        return class_targets(index)
    if slides is None:
        raise SettingsError(
            f"{', '.join(settings.columns)} of the slide table cannot be learned without it",
            "--slides",
            "Name results/cohort/slides.tsv",
        )
    rows = read_slides(slides)
    truth = slide_truth(rows, settings, slides)[_places(rows, index, slides)]
    scale = None
    if settings.kind is TargetKind.REGRESSION:
        scale = Scale.of(truth[(index.table["split"] == Split.TRAIN).to_numpy()])
    return Targets(settings.kind, settings.columns, truth, scale)


def class_targets(index: PatchIndex) -> Targets:
    """Return the classes of all patches of an index."""
    labels = index.table["label"].to_numpy(np.int64)
    return Targets(TargetKind.CLASSES, index.classes, labels)


def slide_truth(
    rows: Sequence[Slide], settings: TargetSettings, table: Path
) -> NDArray[np.float32]:
    """Return the labels or numbers of all slides of a table, ``(slides, k)``, NaN where unknown.

    Args:
        rows: The slides, at least one.
        settings: What is learned: labels or numbers.
        table: Where the slides stand; errors name it.

    Raises:
        CohortErrors: the table has no such column, or a cell is not 0 or 1 (``multi_label``) or no
            finite number (``regression``).
    """
    _check_columns(rows, settings.columns, table)
    truth = np.full((len(rows), len(settings.columns)), np.nan, dtype=np.float32)
    errors = []
    for place, slide in enumerate(rows):
        for number, column in enumerate(settings.columns):
            cell = slide.value(column)
            value = _number(cell)
            if _is_target(value, settings.kind):
                truth[place, number] = value
            elif cell:
                errors.append(_not_a_target(cell, column, settings.kind, f"{table}:{slide.line}"))
    if errors:
        raise CohortErrors(errors)
    return truth


def _check_columns(rows: Sequence[Slide], columns: Sequence[str], table: Path) -> None:
    there = (*COLUMNS, *rows[0].extra)
    errors = []
    for column in columns:
        if column not in there:
            close = difflib.get_close_matches(column, there, n=1)
            found = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(there)}."
            remedy = f"{found} Correct target.columns of the run"
            errors.append(
                CohortError(f"there is no column {column!r} to learn", str(table), remedy)
            )
    if errors:
        raise CohortErrors(errors)


def _number(cell: str) -> float:
    """Return the number that a cell spells, NaN where it spells none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _is_target(value: float, kind: TargetKind) -> bool:
    return value in (0.0, 1.0) if kind is TargetKind.MULTI_LABEL else abs(value) <= _LARGEST


def _not_a_target(cell: str, column: str, kind: TargetKind, where: str) -> CohortError:
    wanted = "0 or 1" if kind is TargetKind.MULTI_LABEL else "a finite number"
    return CohortError(
        f"{column} is {cell!r}, not {wanted}", where, "Correct the cell, or empty it where unknown"
    )


def _places(rows: Sequence[Slide], index: PatchIndex, table: Path) -> NDArray[np.int64]:
    """Return the row of each patch's slide in the slide table, ``(patches,)``."""
    place_of = {slide.slide: place for place, slide in enumerate(rows)}
    places = index.table["slide"].map(place_of)
    missing = index.table["slide"][places.isna()].unique()
    if len(missing):
        raise CohortErrors(
            [
                CohortError(
                    f"slide {name!r} has patches, but no row",
                    str(table),
                    "Add it, or delete the patch index and run `snakemake patches` again",
                )
                for name in missing
            ]
        )
    return places.to_numpy().astype(np.int64)

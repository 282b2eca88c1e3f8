"""From patches to slides and patients: what is true of them, and what their patches say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.evaluation.aggregate import aggregate, class_probabilities
from lamella.evaluation.aggregation import Aggregation
from lamella.evaluation.answers import Answers, ColumnAnswers

UNKNOWN = -1
"""Truth of a slide or patient of which nothing can be said."""


class Level(StrEnum):
    """What is judged as one, from all its patches; the value is the column that names it."""

    SLIDE = "slide"
    PATIENT = "patient"


@dataclass(frozen=True)
class Units:
    """The slides or patients whose truth is known.

    Attributes:
        rows: The patches of each, positions in the table.
        truth: ``(n,)`` class of each.
        patients: ``(n,)`` number of the patient that each belongs to.
        without_truth: How many more there are, of which nothing is known.
    """

    rows: list[NDArray[np.int64]]
    truth: NDArray[np.int64]
    patients: NDArray[np.int64]
    without_truth: int

    def answers(self, probabilities: NDArray[np.floating], aggregation: Aggregation) -> Answers:
        """Return the aggregated answers; there must be a unit.

        Args:
            probabilities: ``(patches, classes)``, row by row as in the table.
            aggregation: What is made of those of one unit.
        """
        each = [class_probabilities(probabilities[rows], aggregation) for rows in self.rows]
        return Answers(self.truth, np.stack(each), self.patients)


@dataclass(frozen=True)
class ColumnUnits:
    """The slides or patients of some patches, and what is true of them.

    Attributes:
        rows: The patches of each, positions in the table.
        targets: Labels or numbers of each.
        patients: ``(n,)`` number of the patient that each belongs to.
        patches: Labels or numbers of each patch.
    """

    rows: list[NDArray[np.int64]]
    targets: Targets
    patients: NDArray[np.int64]
    patches: Targets

    def answers(self, outputs: NDArray[np.floating], aggregation: Aggregation) -> ColumnAnswers:
        """Return the aggregated answers, each column's from the patches of which it is known.

        Args:
            outputs: ``(patches, k)``, row by row as in the table.
            aggregation: What is made of those of one unit.
        """
        known = ~np.isnan(self.patches.truth)
        found = np.full(self.targets.truth.shape, np.nan)
        for unit, column in np.argwhere(~np.isnan(self.targets.truth)):
            rows = self.rows[unit]
            found[unit, column] = aggregate(outputs[rows[known[rows, column]], column], aggregation)
        return ColumnAnswers(self.targets, found, self.patients)


def patient_numbers(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's patient, ``(n,)``; patients are numbered by name."""
    return pd.factorize(table["patient"], sort=True)[0].astype(np.int64)


def find_units(table: pd.DataFrame, level: Level, classes: Sequence[str]) -> Units:
    """Return the slides or patients of some patches, and what is true of them.

    A slide is what the column ``slide_label`` says; where that names no class, what its patches
    are together. A patient is what its slides are together.

    Args:
        table: Labelled patches: ``slide patient slide_label label``.
        level: Slides or patients.
        classes: Names of the labels 0, 1, …
    """
    truths = slide_truths(table, classes)
    if level is Level.PATIENT:
        patient_of = table.groupby("slide", observed=True)["patient"].first()
        grouped = truths.groupby(patient_of, observed=True)
        truths = grouped.agg(lambda slides: joint_truth(slides, len(classes)))
    numbers = patient_numbers(table)
    rows = table.groupby(level.value, observed=True).indices
    known = truths[truths != UNKNOWN]
    of_known = [np.asarray(rows[name], dtype=np.int64) for name in known.index]
    return Units(
        rows=of_known,
        truth=known.to_numpy(np.int64),
        patients=np.array([numbers[each[0]] for each in of_known], dtype=np.int64),
        without_truth=len(truths) - len(known),
    )


def slide_truths(table: pd.DataFrame, classes: Sequence[str]) -> pd.Series:
    """Return the class of each slide, by its name, or ``UNKNOWN``."""
    slides = table.groupby("slide", observed=True)
    of_patches = slides["label"].agg(lambda labels: joint_truth(labels, len(classes)))
    said = slides["slide_label"].first()
    return pd.Series(
        [
            classes.index(label) if label in classes else truth
            for label, truth in zip(said, of_patches, strict=True)
        ],
        index=of_patches.index,
        dtype=np.int64,
    )


def joint_truth(parts: Iterable[int], classes: int) -> int:
    """Return what parts are together: what all of them are; else, of two classes, class 1.

    So a slide is tumour if any patch is, and a patient if any slide is. Of more classes, nothing is
    known of parts that differ.
    """
    different = set(parts)
    if len(different) == 1:
        return int(different.pop())
    return 1 if classes == 2 else UNKNOWN


def find_column_units(table: pd.DataFrame, level: Level, targets: Targets) -> ColumnUnits:
    """Return the slides or patients of some patches, and what is true of them.

    A slide is what its patches were given from the slide table. Of a patient's slides, as far as
    something is known of them, a number is the mean, and a label is 1 if it is of any.

    Args:
        table: Patches of which something is known: ``slide patient``.
        level: Slides or patients.
        targets: Labels or numbers, row by row as in the table.
    """
    values = pd.DataFrame(targets.truth.astype(np.float64))
    slides = values.groupby(table["slide"].to_numpy(str)).first()
    truth = slides
    if level is Level.PATIENT:
        patient_of = table.groupby("slide", observed=True)["patient"].first()
        grouped = slides.groupby(patient_of.loc[slides.index].to_numpy(str))
        truth = grouped.mean() if targets.kind is TargetKind.REGRESSION else grouped.max()
    numbers = patient_numbers(table)
    places = table.groupby(level.value, observed=True).indices
    rows = [np.asarray(places[name], dtype=np.int64) for name in truth.index]
    return ColumnUnits(
        rows=rows,
        targets=replace(targets, truth=truth.to_numpy(np.float64)),
        patients=np.array([numbers[each[0]] for each in rows], dtype=np.int64),
        patches=targets,
    )

"""Divide the patients of a cohort into training, validation and test."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lamella.cohort.deal import deal
from lamella.cohort.settings import Split, SplitMethod, SplitSettings
from lamella.cohort.table import COLUMNS, Slide, read_slides
from lamella.cohort.tested import patients_of_centre, patients_of_fold
from lamella.errors import CohortError, CohortErrors
from lamella.stores.tables import read_table, write_table

logger = logging.getLogger(__name__)

_Fixed = dict[str, tuple[Split, Slide]]
"""The split that a patient is fixed to, and the first slide that says so."""


def split_cohort(*, slides: Path, output: Path, settings: SplitSettings) -> None:
    """Write ``slide patient split``, one row per slide in table order.

    Raises:
        CohortErrors: the patients cannot be split so, see ``split_patients``.
    """
    cohort = read_slides(slides)
    splits = split_patients(cohort, settings)
    rows = [
        {"slide": slide.slide, "patient": slide.patient, "split": splits[slide.patient]}
        for slide in cohort
    ]
    write_table(output, ("slide", "patient", "split"), rows)
    counts = Counter(row["split"] for row in rows)
    logger.info("slides per split: %s", ", ".join(f"{name} {counts[name]}" for name in Split))
    for name in Split:
        if not counts[name]:
            logger.warning("no slide is in %s: too few patients; training will refuse that", name)


def read_splits(path: Path) -> dict[str, Split]:
    """Return the split of each slide."""
    return {row["slide"]: Split(row["split"]) for row in read_table(path)}


def split_patients(slides: Sequence[Slide], settings: SplitSettings) -> dict[str, Split]:
    """Return the split of each patient.

    Who is tested on follows from the method; the others are dealt out by their shares. Splits
    depend on the seed and on the names of the patients, not on the order of the table; a new
    patient moves few others. To move none, freeze the splits in the column ``split``: fixed splits
    are kept and count.

    Args:
        slides: The cohort; a patient's stratum is the set of values of its slides in the
            columns ``settings.stratify``.
        settings: Method, shares, strata and seed.

    Raises:
        CohortErrors: one patient's slides are fixed to different splits, or a patient to a split
            that the method does not allow; a column to stratify by is missing; there are fewer
            patients than folds; the centre cannot be left out.
    """
    _require_columns(slides, settings.stratify)
    fixed = _fixed_splits(slides)
    shares = {split: settings.share(split) for split in Split}
    if settings.method is SplitMethod.SHARES:
        return deal(slides, shares, _splits(fixed), settings.stratify, key=settings.seed)
    tested = _tested(slides, fixed, settings)
    _refuse_contradictions(fixed, tested, settings)
    rest = [slide for slide in slides if slide.patient not in tested]
    whole = 1 - shares.pop(Split.TEST)
    shares = {split: share / whole for split, share in shares.items()}
    # With a key of its own, every fold validates on other patients.
    key = [settings.seed, settings.fold, settings.centre]
    dealt = deal(rest, shares, _splits(fixed), settings.stratify, key=key)
    return dealt | dict.fromkeys(tested, Split.TEST)


def _tested(slides: Sequence[Slide], fixed: _Fixed, settings: SplitSettings) -> set[str]:
    if settings.centre is not None:
        return patients_of_centre(slides, settings.centre)
    return patients_of_fold([each for each in slides if each.patient not in fixed], settings)


def _refuse_contradictions(fixed: _Fixed, tested: set[str], settings: SplitSettings) -> None:
    errors = [
        CohortError(
            f"patient {patient!r} is fixed to {split}, "
            f"but {settings.method} {'tests' if patient in tested else 'does not test'} on it",
            f"slide table, line {slide.line}",
            f"Empty its cell in column split, or set split.method to {SplitMethod.SHARES}",
        )
        for patient, (split, slide) in fixed.items()
        if (split is Split.TEST) != (patient in tested)
    ]
    if errors:
        raise CohortErrors(errors)


def _splits(fixed: _Fixed) -> dict[str, Split]:
    return {patient: split for patient, (split, _) in fixed.items()}


def _fixed_splits(slides: Sequence[Slide]) -> _Fixed:
    fixed: _Fixed = {}
    errors = []
    for slide in slides:
        if slide.split is None:
            continue
        split, first = fixed.setdefault(slide.patient, (slide.split, slide))
        if split is not slide.split:
            errors.append(
                CohortError(
                    f"patient {slide.patient!r} is fixed to {slide.split} here "
                    f"and to {split} in line {first.line}",
                    f"slide table, line {slide.line}",
                    "Give all slides of a patient the same split",
                )
            )
    if errors:
        raise CohortErrors(errors)
    return fixed


def _require_columns(slides: Sequence[Slide], columns: Sequence[str]) -> None:
    known = {*COLUMNS, *slides[0].extra}
    unknown = [column for column in columns if column not in known]
    if unknown:
        raise CohortErrors(
            [
                CohortError(
                    f"the slide table has no column {column!r}",
                    "split.stratify",
                    f"Use {', '.join(('label', 'centre', *slides[0].extra))}",
                )
                for column in unknown
            ]
        )

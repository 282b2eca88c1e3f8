"""Divide the patients of a cohort into training, validation and test."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from lamella.cohort.settings import Split, SplitSettings
from lamella.cohort.table import COLUMNS, Slide, read_slides
from lamella.errors import CohortError, CohortErrors
from lamella.stores.json_files import digest
from lamella.stores.tables import read_table, write_table

logger = logging.getLogger(__name__)


def split_cohort(*, slides: Path, output: Path, settings: SplitSettings) -> None:
    """Write ``slide patient split``, one row per slide in table order.

    Raises:
        CohortErrors: one patient's slides are fixed to different splits, or a column to
            stratify by is missing.
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

    In each stratum, patients stand in an order that depends on the seed and their names only, and
    the splits are blocks of that order. So a new patient moves few others; to move none, freeze
    the splits in the column ``split``. What rounding takes from a split in one stratum it gets
    back in the next. Fixed splits of the table are kept and count.

    Args:
        slides: The cohort; a patient's stratum is the set of values of its slides in the
            columns ``settings.stratify``.
        settings: Shares, strata and seed.

    Raises:
        CohortErrors: one patient's slides are fixed to different splits, or there is no such
            column.
    """
    _require_columns(slides, settings.stratify)
    splits = _fixed_splits(slides)
    owed = dict.fromkeys(Split, 0.0)
    for _, patients in sorted(_strata(slides, settings.stratify).items()):
        for split in Split:
            owed[split] += settings.share(split) * len(patients)
        for patient in patients:
            if patient in splits:
                owed[splits[patient]] -= 1
        free = [patient for patient in patients if patient not in splits]
        blocks = Counter[Split]()
        for _ in free:
            split = max(Split, key=owed.__getitem__)
            owed[split] -= 1
            blocks[split] += 1
        names = [split for split in Split for _ in range(blocks[split])]
        ordered = sorted(free, key=lambda patient: digest([settings.seed, patient]))
        splits |= zip(ordered, names, strict=True)
    return splits


def _fixed_splits(slides: Sequence[Slide]) -> dict[str, Split]:
    fixed: dict[str, tuple[Split, Slide]] = {}
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
    return {patient: split for patient, (split, _) in fixed.items()}


def _strata(slides: Sequence[Slide], columns: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    values: dict[str, set[str]] = defaultdict(set)
    for slide in slides:
        values[slide.patient].add("\t".join(slide.value(column) for column in columns))
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient, found in values.items():
        strata[tuple(sorted(found))].append(patient)
    return strata


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

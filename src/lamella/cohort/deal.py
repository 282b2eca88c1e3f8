"""Deal patients out to parts of given shares, stratum by stratum."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from lamella.cohort.table import Slide
from lamella.stores.json_files import digest

Part = TypeVar("Part", bound=Hashable)


def deal(
    slides: Sequence[Slide],
    shares: Mapping[Part, float],
    fixed: Mapping[str, Part],
    stratify: Sequence[str],
    *,
    key: object,
) -> dict[str, Part]:
    """Return the part of each patient.

    In each stratum, patients stand in an order that depends on the key and their names only, and
    the parts are blocks of that order. So a new patient moves few others. What rounding takes from
    a part in one stratum it gets back in the next.

    Args:
        slides: A patient's stratum is the set of values of its slides in the columns ``stratify``.
        shares: Share of each part; they sum to 1.
        fixed: Patients whose part is given; they count. Others than those of ``slides`` are left
            out.
        stratify: Columns of the slide table.
        key: JSON value; another key makes another order.
    """
    dealt: dict[str, Part] = {}
    owed = dict.fromkeys(shares, 0.0)
    for _, patients in sorted(_strata(slides, stratify).items()):
        for part, share in shares.items():
            owed[part] += share * len(patients)
        given = {patient: fixed[patient] for patient in patients if patient in fixed}
        for part in given.values():
            owed[part] -= 1
        free = [patient for patient in patients if patient not in given]
        blocks = Counter[Part]()
        for _ in free:
            part = max(shares, key=owed.__getitem__)
            owed[part] -= 1
            blocks[part] += 1
        parts = [part for part in shares for _ in range(blocks[part])]
        ordered = sorted(free, key=lambda patient: digest([key, patient]))
        dealt |= given | dict(zip(ordered, parts, strict=True))
    return dealt


def _strata(slides: Sequence[Slide], columns: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    values: dict[str, set[str]] = defaultdict(set)
    for slide in slides:
        values[slide.patient].add("\t".join(slide.value(column) for column in columns))
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient, found in values.items():
        strata[tuple(sorted(found))].append(patient)
    return strata

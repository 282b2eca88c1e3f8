"""Patients are divided, never cut."""

from collections import Counter
from pathlib import Path

import pytest

from lamella.cohort.settings import Split, SplitSettings
from lamella.cohort.split import split_patients
from lamella.cohort.table import Slide
from lamella.errors import CohortErrors


def cohort(patients: int, slides_each: int = 2) -> list[Slide]:
    return [
        Slide(
            slide=f"s{patient}_{number}",
            path=Path("x.svs"),
            patient=f"p{patient}",
            label="tumor" if patient % 4 == 0 else "normal",
            centre="north" if patient % 2 else "south",
        )
        for patient in range(patients)
        for number in range(slides_each)
    ]


def test_shares_hold_in_every_stratum() -> None:
    slides = cohort(100)
    splits = split_patients(slides, SplitSettings(train=0.6, validation=0.2, test=0.2))
    assert len(splits) == 100
    label_of = {slide.patient: slide.label for slide in slides}
    counts = Counter((label_of[patient], split) for patient, split in splits.items())
    assert counts["tumor", Split.TRAIN] == 15
    assert counts["tumor", Split.TEST] == counts["tumor", Split.VALIDATION] == 5
    assert counts["normal", Split.TRAIN] == 45


@pytest.mark.parametrize("seed", range(5))
def test_few_patients_fill_every_split(seed: int) -> None:
    splits = split_patients(cohort(8, slides_each=1), SplitSettings(seed=seed))
    counts = Counter(splits.values())
    assert counts[Split.TRAIN] == 5
    assert min(counts[Split.VALIDATION], counts[Split.TEST]) >= 1


def test_seed_decides_and_table_order_does_not() -> None:
    slides = cohort(30)
    first = split_patients(slides, SplitSettings(seed=1))
    assert split_patients(slides[::-1], SplitSettings(seed=1)) == first
    assert split_patients(slides, SplitSettings(seed=2)) != first


def test_fixed_splits_are_kept_and_contradictions_refused() -> None:
    slides = cohort(10)
    slides[0] = Slide("fixed", Path("x"), "p0", split=Split.TEST)
    assert split_patients(slides, SplitSettings())["p0"] is Split.TEST
    slides[1] = Slide("other", Path("x"), "p0", split=Split.TRAIN)
    with pytest.raises(CohortErrors, match="patient 'p0' is fixed to train here and to test"):
        split_patients(slides, SplitSettings())


def test_unknown_column_to_stratify_by_is_refused() -> None:
    with pytest.raises(CohortErrors, match="no column 'grade'"):
        split_patients(cohort(4), SplitSettings(stratify=("label", "grade")))


def test_shares_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match=r"is 1\.1, not 1"):
        SplitSettings(train=0.7)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_shares_hold_over_many_small_strata(size: int) -> None:
    slides = [
        Slide(f"s{number}", Path("x.svs"), f"p{number}", label=str(number // size))
        for number in range(120)
    ]
    counts = Counter(split_patients(slides, SplitSettings()).values())
    assert counts == {Split.TRAIN: 72, Split.VALIDATION: 24, Split.TEST: 24}


def test_a_new_patient_moves_few_others() -> None:
    before = split_patients(cohort(100), SplitSettings())
    after = split_patients(
        [*cohort(100), Slide("new", Path("x.svs"), "new", label="normal")], SplitSettings()
    )
    moved = [patient for patient in before if before[patient] is not after[patient]]
    assert len(moved) <= 4

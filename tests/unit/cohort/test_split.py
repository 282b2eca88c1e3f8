"""Patients are divided, never cut."""

from collections import Counter
from pathlib import Path

import pytest

from lamella.cohort.settings import Split, SplitMethod, SplitSettings
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": 2}, "fold is for method k-fold, but the method is shares"),
        ({"method": "k-fold"}, "method k-fold needs fold"),
        ({"method": "k-fold", "folds": 3, "fold": 4}, "fold 4 is not one of 1 to 3"),
        ({"method": "k-fold", "fold": 0}, "greater than or equal to 1"),
        ({"method": "k-fold", "fold": 1, "centre": "north"}, "centre is for method leave-one"),
        ({"method": "leave-one-centre-out"}, "method leave-one-centre-out needs centre"),
    ],
)
def test_settings_that_do_not_fit_the_method_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SplitSettings.model_validate(settings)


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


def fold(number: int, folds: int = 5, **more: object) -> SplitSettings:
    return SplitSettings.model_validate(
        {"method": "k-fold", "folds": folds, "fold": number, **more}
    )


def of(splits: dict[str, Split], split: Split) -> set[str]:
    return {patient for patient, found in splits.items() if found is split}


@pytest.mark.parametrize("seed", range(3))
def test_every_patient_is_tested_on_in_exactly_one_fold(seed: int) -> None:
    # 23 patients in four uneven strata.
    runs = [split_patients(cohort(23), fold(number, seed=seed)) for number in range(1, 6)]
    tested = [of(splits, Split.TEST) for splits in runs]
    assert sorted(len(patients) for patients in tested) == [4, 4, 5, 5, 5]
    assert sorted(name for patients in tested for name in patients) == sorted(runs[0])
    for splits in runs:
        # A quarter of the other 18 or 19: 0.2 to 0.6.
        assert len(of(splits, Split.VALIDATION)) in {4, 5}


def test_folds_are_stratified_by_label_and_centre() -> None:
    slides = cohort(40)
    stratum_of = {slide.patient: (slide.label, slide.centre) for slide in slides}
    for number in range(1, 6):
        splits = split_patients(slides, fold(number))
        counts = Counter(stratum_of[patient] for patient in of(splits, Split.TEST))
        assert counts == {("tumor", "south"): 2, ("normal", "south"): 2, ("normal", "north"): 4}


def test_folds_do_not_depend_on_the_order_of_the_table_but_on_the_seed() -> None:
    first = split_patients(cohort(30), fold(2))
    assert split_patients(cohort(30)[::-1], fold(2)) == first
    assert split_patients(cohort(30), fold(2, seed=1)) != first


def test_folds_validate_on_different_patients() -> None:
    validated = [of(split_patients(cohort(40), fold(n)), Split.VALIDATION) for n in (1, 2, 3)]
    assert not set.intersection(*validated)


def test_as_many_folds_as_patients_leave_one_out_and_more_are_refused() -> None:
    tested = [of(split_patients(cohort(4), fold(n, folds=4)), Split.TEST) for n in range(1, 5)]
    assert sorted(map(sorted, tested)) == [["p0"], ["p1"], ["p2"], ["p3"]]
    with pytest.raises(CohortErrors, match=r"split\.folds: 5 folds need as many .* but 4 have"):
        split_patients(cohort(4), fold(1, folds=5))


def test_patients_fixed_to_training_are_in_no_fold_and_those_fixed_to_test_are_refused() -> None:
    slides = [*cohort(10), Slide("s", Path("x"), "more", split=Split.TRAIN, line=40)]
    runs = [split_patients(slides, fold(number)) for number in range(1, 6)]
    assert {splits["more"] for splits in runs} == {Split.TRAIN}
    assert sum(len(of(splits, Split.TEST)) for splits in runs) == 10
    slides[-1] = Slide("s", Path("x"), "more", split=Split.TEST, line=40)
    with pytest.raises(
        CohortErrors,
        match=r"line 40: patient 'more' is fixed to test, but k-fold does not test on it",
    ):
        split_patients(slides, fold(1))


def without(centre: str) -> SplitSettings:
    return SplitSettings(method=SplitMethod.LEAVE_ONE_CENTRE_OUT, centre=centre)


def test_the_named_centre_is_tested_on_and_the_others_are_divided_by_their_shares() -> None:
    splits = split_patients(cohort(48), without("south"))
    assert of(splits, Split.TEST) == {f"p{number}" for number in range(0, 48, 2)}
    # 24 patients of the north, 0.6 to 0.2.
    assert len(of(splits, Split.TRAIN)) == 18
    assert len(of(splits, Split.VALIDATION)) == 6


def row(slide: str, patient: str, centre: str, split: Split | None = None) -> Slide:
    line = int(slide) + 1
    return Slide(slide, Path("x"), patient, centre=centre, split=split, line=line)


@pytest.mark.parametrize(
    ("slides", "message"),
    [
        ([row("1", "a", ""), row("2", "b", "")], "split.method: the slide table names no centre"),
        (
            [row("1", "a", "north"), row("2", "b", "")],
            "line 3: slide '2' has no centre, and may be of 'north'",
        ),
        (
            [row("1", "a", "west"), row("2", "b", "east")],
            r"split.centre: no slide is of centre 'north'\. Use east, west\.",
        ),
        ([row("1", "a", "north")], "all slides are of centre 'north'"),
        (
            [row("1", "a", "north"), row("2", "a", "west"), row("3", "b", "west")],
            "line 3: slide '2' is of a patient who also has slides of centre 'north'",
        ),
        (
            [row("1", "a", "north", Split.TRAIN), row("2", "b", "west")],
            "line 2: patient 'a' is fixed to train, but leave-one-centre-out tests on it",
        ),
        (
            [row("1", "a", "north"), row("2", "b", "west", Split.TEST)],
            "line 3: patient 'b' is fixed to test, but leave-one-centre-out does not test on it",
        ),
    ],
    ids=["column", "cell", "unknown", "only", "two centres", "fixed in", "fixed out"],
)
def test_centre_that_cannot_be_left_out_is_refused(slides: list[Slide], message: str) -> None:
    with pytest.raises(CohortErrors, match=message):
        split_patients(slides, without("north"))


def test_splits_that_agree_with_the_centre_left_out_are_kept() -> None:
    slides = [
        row("1", "a", "north", Split.TEST),
        *(row(str(number), f"b{number}", "west") for number in range(2, 9)),
        row("9", "c", "west", Split.VALIDATION),
    ]
    splits = split_patients(slides, without("north"))
    assert splits["a"] is Split.TEST
    assert splits["c"] is Split.VALIDATION
    assert Counter(splits.values()) == {Split.TRAIN: 6, Split.VALIDATION: 2, Split.TEST: 1}


def test_patients_are_spread_over_centres_too() -> None:
    slides = cohort(40)
    centre_of = {slide.patient: slide.centre for slide in slides}
    for seed in range(5):
        splits = split_patients(slides, SplitSettings(seed=seed))
        tested = Counter(centre_of[patient] for patient in of(splits, Split.TEST))
        assert tested == {"north": 4, "south": 4}

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamella.datasets.targets import class_targets
from lamella.errors import TrainingError
from lamella.patches.index import PatchIndex, read_index
from lamella.training.checks import check_trainable
from lamella.training.settings import Backend, RunSettings, TrainingSettings

ONE = TrainingSettings()


def check(index: PatchIndex, run: RunSettings, training: TrainingSettings) -> None:
    check_trainable(index, class_targets(index), run, training)


@pytest.fixture
def index(cohort: Path) -> PatchIndex:
    return read_index(cohort)


def changed(index: PatchIndex, rows: np.ndarray, column: str, value: object) -> PatchIndex:
    table = index.table.copy()
    table.loc[rows, column] = value
    return replace(index, table=table)


def test_sound_index_is_accepted(index):
    check(index, RunSettings(), ONE)


def test_patient_in_two_splits_is_refused_and_named(index):
    leaking = changed(index, (index.table["patient"] == "p4").to_numpy(), "patient", "p2")
    with pytest.raises(TrainingError, match=r"p2 \(train and validation\)"):
        check(leaking, RunSettings(), ONE)


def test_slide_in_two_splits_is_refused_also_when_its_patients_differ(index):
    leaking = changed(index, (index.table["slide"] == "s4").to_numpy(), "slide", "s0")
    with pytest.raises(TrainingError, match=r"column slide: in two splits: s0 \(test and train\)"):
        check(leaking, RunSettings(), ONE)


def with_copies(index: PatchIndex, *slides: str) -> PatchIndex:
    contents = {f"s{number}": f"content {number}" for number in range(5)}
    return replace(index, contents=contents | dict.fromkeys(slides, "copied"))


def test_copy_of_a_slide_in_another_split_is_refused_and_both_are_named(index):
    check(with_copies(index, "s0", "s2"), RunSettings(), ONE)
    with pytest.raises(TrainingError) as refused:
        check(with_copies(index, "s1", "s4"), RunSettings(), ONE)
    assert refused.value.what == (
        "the same slide in two splits: s1 of patient p2 (train) and s4 of patient p5 (test)"
    )


def test_slides_of_unknown_content_are_no_copies_of_each_other(index):
    known = with_copies(index)
    unknown = {slide: known.contents[slide] for slide in ("s0", "s1", "s2")}
    check(replace(index, contents=unknown), RunSettings(), ONE)


def test_index_without_labels_is_refused(index):
    unlabelled = changed(index, np.ones(len(index.table), dtype=bool), "label", -1)
    with pytest.raises(TrainingError, match="none of the 90 patches has a label"):
        check(unlabelled, RunSettings(), ONE)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_split_without_labelled_patches_is_refused(index, split):
    empty = changed(index, (index.table["split"] == split).to_numpy(), "label", -1)
    with pytest.raises(TrainingError, match=f"split '{split}' has no labelled patch"):
        check(empty, RunSettings(), ONE)


def test_class_without_training_patches_is_refused_and_named(index):
    tumors = (index.table["split"] == "train") & (index.table["label"] == 1)
    with pytest.raises(TrainingError, match="no training patch of class tumor"):
        check(changed(index, tumors.to_numpy(), "label", 0), RunSettings(), ONE)


def test_joint_batch_larger_than_the_training_set_is_refused(index):
    # 20 + 19 + 18 training patches.
    two = TrainingSettings(backend=Backend.HOROVOD, processes=2)
    check(index, RunSettings(batch_size=28), two)
    with pytest.raises(TrainingError, match=r"29 x 2 processes = 58 .* epoch of 57 .* at most 28"):
        check(index, RunSettings(batch_size=29), two)
    with pytest.raises(TrainingError, match="epoch of 30 training patches"):
        check(index, RunSettings(batch_size=16, patches_per_epoch=30), two)


def test_remedy_of_a_joint_batch_that_is_too_large_is_no_batch_size_that_is_refused(index):
    # 57 patches in 15 parts are 3 each, and no batch may be smaller than 4.
    with pytest.raises(TrainingError, match="Lower accumulate of the run") as error:
        check(index, RunSettings(batch_size=4, accumulate=15), ONE)
    assert "at most" not in str(error.value)

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import TrainingError
from lamella.patches.index import PatchIndex, read_index
from lamella.training.checks import check_trainable
from lamella.training.settings import Backend, RunSettings, TrainingSettings

ONE = TrainingSettings()


@pytest.fixture
def index(cohort: Path) -> PatchIndex:
    return read_index(cohort)


def changed(index: PatchIndex, rows: np.ndarray, column: str, value: object) -> PatchIndex:
    table = index.table.copy()
    table.loc[rows, column] = value
    return replace(index, table=table)


def test_sound_index_is_accepted(index):
    check_trainable(index, RunSettings(), ONE)


def test_patient_in_two_splits_is_refused_and_named(index):
    leaking = changed(index, (index.table["patient"] == "p4").to_numpy(), "patient", "p2")
    with pytest.raises(TrainingError, match=r"p2 \(train and validation\)"):
        check_trainable(leaking, RunSettings(), ONE)


def test_slide_in_two_splits_is_refused_also_when_its_patients_differ(index):
    leaking = changed(index, (index.table["slide"] == "s4").to_numpy(), "slide", "s0")
    with pytest.raises(TrainingError, match=r"column slide: in two splits: s0 \(test and train\)"):
        check_trainable(leaking, RunSettings(), ONE)


def test_index_without_labels_is_refused(index):
    unlabelled = changed(index, np.ones(len(index.table), dtype=bool), "label", -1)
    with pytest.raises(TrainingError, match="none of the 90 patches has a label"):
        check_trainable(unlabelled, RunSettings(), ONE)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_split_without_labelled_patches_is_refused(index, split):
    empty = changed(index, (index.table["split"] == split).to_numpy(), "label", -1)
    with pytest.raises(TrainingError, match=f"split '{split}' has no labelled patch"):
        check_trainable(empty, RunSettings(), ONE)


def test_class_without_training_patches_is_refused_and_named(index):
    tumors = (index.table["split"] == "train") & (index.table["label"] == 1)
    with pytest.raises(TrainingError, match="no training patch of class tumor"):
        check_trainable(changed(index, tumors.to_numpy(), "label", 0), RunSettings(), ONE)


def test_joint_batch_larger_than_the_training_set_is_refused(index):
    # 20 + 19 + 18 training patches.
    two = TrainingSettings(backend=Backend.HOROVOD, processes=2)
    check_trainable(index, RunSettings(batch_size=28), two)
    with pytest.raises(TrainingError, match=r"29 x 2 processes = 58 .* epoch of 57 .* at most 28"):
        check_trainable(index, RunSettings(batch_size=29), two)
    with pytest.raises(TrainingError, match="epoch of 30 training patches"):
        check_trainable(index, RunSettings(batch_size=16, patches_per_epoch=30), two)

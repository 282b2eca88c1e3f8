"""Targets that cannot be learned or judged are refused before anything is trained."""

import numpy as np
import pandas as pd
import pytest

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.errors import TrainingError
from lamella.training.target_checks import check_targets

SPLITS = pd.Series(["test", "train", "train", "validation", "train", ""], index=range(50, 56))
NONE = np.nan


def labels(er, her2) -> Targets:
    truth = np.array([er, her2], dtype=np.float32).T
    return Targets(TargetKind.MULTI_LABEL, ("er", "her2"), truth)


def numbers(age) -> Targets:
    return Targets(TargetKind.REGRESSION, ("age",), np.array(age, dtype=np.float32)[:, None])


def refusal(targets) -> str:
    with pytest.raises(TrainingError) as refused:
        check_targets(targets, SPLITS)
    return str(refused.value)


def test_sound_targets_are_accepted():
    check_targets(Targets(TargetKind.CLASSES, ("a", "b"), np.array([0, 1, 0, 1, -1, 1])), SPLITS)
    # Another split may show one side of a label only, or nothing of it.
    check_targets(labels([1, 1, 0, 1, NONE, 0], [NONE, 0, NONE, NONE, 1, 0]), SPLITS)
    check_targets(numbers([1, 5, NONE, 2, 6, 7]), SPLITS)


def test_a_label_that_all_training_patches_have_or_lack_is_refused():
    message = refusal(labels([0, 1, NONE, 0, 1, 0], [1, 0, 0, 1, 0, 1]))
    assert message.startswith("the slide table, split train: er is always 1; her2 is always 0. ")


def test_a_number_that_training_has_once_or_never_is_refused():
    assert "split train: age is always 2.5. " in refusal(numbers([1, 2.5, 2.5, 3, NONE, 4]))
    assert "split train: er has no value. " in refusal(
        labels([0, NONE, NONE, 1, NONE, 0], [0, 1, 0, 1, 0, 1])
    )


@pytest.mark.parametrize(("split", "row"), [("test", 0), ("validation", 3)])
def test_a_split_of_which_nothing_is_known_is_refused(split, row):
    truth = np.array([1, 0, 1, 0, 1, 1.0])
    truth[row] = NONE
    assert refusal(labels(truth, truth)).startswith(
        f"the slide table: no slide of split '{split}' has a value in er or her2. "
    )
    classes = np.where(np.isnan(truth), -1, truth).astype(np.int64)
    unlabelled = Targets(TargetKind.CLASSES, ("a", "b"), classes)
    assert refusal(unlabelled).startswith(
        f"the patch index: split '{split}' has no labelled patch. "
    )


def test_targets_of_which_nothing_is_known_at_all_are_refused():
    assert refusal(numbers([NONE] * 6)).startswith(
        "the slide table: no slide with patches has a value in age. "
    )


def test_a_class_that_only_another_split_has_is_refused():
    targets = Targets(TargetKind.CLASSES, ("a", "b", "c"), np.array([1, 0, 0, 1, 0, 2]))
    assert refusal(targets).startswith("the patch index: no training patch of class b, c. ")

import numpy as np
import pytest

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.engines.agreement import compare, compare_answers, patch_auc


def tumor(*probabilities: float) -> np.ndarray:
    second = np.array(probabilities, dtype=np.float32)
    return np.stack([1 - second, second], axis=1)


LABELS = np.array([0, 1, 0, 1], dtype=np.int16)


def test_figures_of_a_comparison_by_hand():
    reference = tumor(0.25, 0.75, 0.5, 0.625)
    answers = tumor(0.25, 0.75, 0.75, 0.5)
    found = compare_answers(answers, reference, LABELS)
    assert found.n == 4
    assert found.max_abs_difference == 0.25
    # The third patch: (0.25, 0.75) against (0.5, 0.5).
    assert found.cosine == pytest.approx(0.5 / np.sqrt(0.625 * 0.5))
    # argmax of equal values is the first: patch 3 changes from class 0 to 1, patch 4 from 1 to 0.
    assert found.top1_agreement == 0.5
    # Of the four pairs (tumour, normal): 0.75 > 0.25, 0.75 = 0.75, 0.5 > 0.25, 0.5 < 0.75.
    assert found.auc == 0.625
    assert found.auc_difference == -0.375


def test_the_limit_itself_is_within():
    found = compare_answers(tumor(0.5, 0.75), tumor(0.5, 0.5), LABELS[:2])
    assert found.within(0.25)
    assert not found.within(0.249)


def test_nan_is_never_within():
    found = compare_answers(tumor(0.25, np.nan), tumor(0.25, 0.75), LABELS[:2])
    assert not found.within(1.0)
    assert found.auc is None


def test_auc_leaves_out_patches_without_a_label():
    assert patch_auc(tumor(0.9, 0.2, 0.1), np.array([-1, 1, 0], dtype=np.int16)) == 1.0


@pytest.mark.parametrize("labels", [[1, 1], [-1, 1], [-1, -1]])
def test_auc_is_absent_where_a_class_is(labels):
    assert patch_auc(tumor(0.9, 0.2), np.array(labels, dtype=np.int16)) is None


def test_answers_about_other_patches_are_refused():
    with pytest.raises(ValueError, match="cannot compare"):
        compare_answers(tumor(0.5), tumor(0.5, 0.5), LABELS)


NAMES = ("er", "her2")
BOTH = np.array([[0.9, 0.2], [0.4, 0.8], [0.7, 0.6]], dtype=np.float32)


def test_labels_agree_where_all_are_on_the_same_side_of_one_half():
    truth = np.array([[1, 0], [0, np.nan], [np.nan, 1]], dtype=np.float32)
    targets = Targets(TargetKind.MULTI_LABEL, NAMES, truth)
    answers = BOTH + np.array([[0, 0], [0.25, 0], [0, 0]], dtype=np.float32)
    found = compare(answers, BOTH, targets)
    assert found.top1_agreement == pytest.approx(2 / 3)
    assert found.max_abs_difference == pytest.approx(0.25)
    # Of er 0.9 > 0.65, of her2 0.6 > 0.2.
    assert (found.auc, found.auc_difference, found.cosine) == (1.0, 0.0, None)
    unknown = Targets(TargetKind.MULTI_LABEL, NAMES, np.full((3, 2), np.nan))
    assert compare(answers, BOTH, unknown).auc is None


def test_numbers_differ_in_standard_deviations():
    scale = Scale(np.array([50.0, 0.1]), np.array([10.0, 0.001]))
    targets = Targets(TargetKind.REGRESSION, NAMES, np.full((3, 2), np.nan), scale)
    answers = BOTH + np.array([[5, 0], [0, 0], [0, 0.002]], dtype=np.float32)
    found = compare(answers, BOTH, targets)
    assert found.max_abs_difference == pytest.approx(2.0, rel=1e-4)
    assert found.auc is found.cosine is found.top1_agreement is None
    with pytest.raises(ValueError, match="cannot compare"):
        compare(answers[:2], BOTH, targets)

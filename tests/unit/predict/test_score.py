"""A slide's score is the mean of its highest probabilities."""

import numpy as np
import pytest
from lamella.predict.score import score_remark, slide_score

from lamella.patches.settings import PatchSettings


def test_the_score_is_the_mean_of_the_top_share():
    probabilities = np.array([0.1, 0.9, 0.2, 0.7, 0.3, 0.0, 0.4, 0.5], dtype=np.float32)
    assert slide_score(probabilities, top_share=0.25) == pytest.approx(0.8)
    assert slide_score(probabilities, top_share=1.0) == pytest.approx(3.1 / 8)


def test_at_least_one_patch_counts():
    assert slide_score(np.array([0.2, 0.6], dtype=np.float32), top_share=0.01) == pytest.approx(0.6)


def test_a_slide_without_patches_has_no_score():
    assert slide_score(np.empty(0, dtype=np.float32), top_share=0.05) is None


@pytest.mark.parametrize("keep_unlabelled", [True, False])
def test_patches_drawn_by_annotated_class_make_no_score(keep_unlabelled):
    drawn = PatchSettings(sampling="random", keep_unlabelled=keep_unlabelled)
    assert "drawn by annotated class" in score_remark(drawn)


@pytest.mark.parametrize(
    "choice",
    [
        {"sampling": "grid"},
        {"sampling": "grid", "keep_unlabelled": False},
        # All windows of a slide have its label: a draw of one class is a draw of all.
        {"sampling": "random", "label_source": "slide"},
    ],
)
def test_patches_that_were_not_drawn_by_annotation_make_a_score(choice):
    assert score_remark(PatchSettings(**choice)) == ""

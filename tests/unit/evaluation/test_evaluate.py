"""What ``metrics.json`` says of a split."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from lamella.evaluation.evaluate import evaluate

CLASSES = ("normal", "tumor")
TUMOR = np.array([0.2, 0.9, 0.4, 0.3, 0.1, 0.6, 0.7, 0.2], dtype=np.float32)
PROBABILITIES = np.stack([1 - TUMOR, TUMOR], axis=1)


def cohort(**changes) -> pd.DataFrame:
    """Return eight patches of four slides of three patients; their index starts at 100."""
    columns = {
        "slide": ["b", "b", "a", "a", "c", "c", "d", "d"],
        "patient": ["q", "q", "p", "p", "r", "r", "r", "r"],
        "slide_label": ["tumor", "tumor", "normal", "normal", "", "", "", ""],
        "label": np.array([0, 1, 0, 0, 0, 0, 1, 1], dtype=np.int16),
    }
    return pd.DataFrame({**columns, **changes}, index=range(100, 108))


def test_patches_slides_and_patients_are_judged_from_their_own_answers():
    found = evaluate(cohort(), PROBABILITIES, CLASSES)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(cohort()["label"], TUMOR))
    assert found["confusion"] == [[4, 1], [1, 2]]
    # Slides a, b, c, d: normal, tumour, normal, tumour.
    assert found["slide"]["n"] == 4
    assert found["slide"]["max"]["auc"] == sk.roc_auc_score([0, 1, 0, 1], [0.4, 0.9, 0.6, 0.7])
    assert found["slide"]["mean"]["accuracy"] == 0.75  # a .35, b .55, c .35, d .45
    # Patients p, q, r: normal, tumour, tumour.
    assert found["patient"]["mean"]["confusion"] == [[1, 0], [1, 1]]
    assert found["patient"]["max"]["classes"]["tumor"]["n"] == 2
    assert found["patient"]["top_k"]["bootstrap"]["patients"] == 3


def test_intervals_enclose_the_metrics_and_the_whole_is_plain_json():
    found = evaluate(cohort(), PROBABILITIES, CLASSES)
    low, high = found["intervals"]["accuracy"]
    assert low <= found["accuracy"] <= high
    assert low < high
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_patches_that_say_nothing_of_a_slide_leave_its_figures_empty_with_the_remark():
    found = evaluate(cohort(), PROBABILITIES, CLASSES, remark="drawn")
    assert found["auc"] is not None
    for level in ("slide", "patient"):
        assert found[level] == {
            "n": 0,
            "without_truth": 0,
            "remark": "drawn",
            **dict.fromkeys(("mean", "max", "noisy_or", "top_k")),
        }


def test_slides_of_one_class_have_figures_but_no_auc_and_the_remark_says_so():
    found = evaluate(cohort(slide_label="tumor"), PROBABILITIES, CLASSES)
    assert found["slide"]["remark"] == "no AUC: no slide is normal"
    assert found["slide"]["top_k"]["auc"] is None
    assert found["slide"]["top_k"]["intervals"]["auc"] is None
    assert found["slide"]["top_k"]["accuracy"] == 0.75  # 0.9, 0.4, 0.6, 0.7


def test_slides_whose_class_nobody_knows_are_counted():
    three = np.concatenate([PROBABILITIES * 0.9, np.full((8, 1), 0.1)], axis=1)
    mixed = cohort(slide_label="", label=np.array([0, 2, 0, 1, 0, 1, 2, 1], dtype=np.int16))
    found = evaluate(mixed, three.astype(np.float32), ("a", "b", "c"))
    assert (found["slide"]["n"], found["slide"]["without_truth"]) == (0, 4)
    assert found["slide"]["remark"] == "no slide whose class is known"
    assert found["slide"]["mean"] is None

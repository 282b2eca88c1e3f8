"""What ``metrics.json`` says of labels and numbers: their means, each of them, and how sure."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.bootstrap import RESAMPLES, SEED
from lamella.evaluation.evaluate_columns import column_metrics, evaluate_columns
from lamella.evaluation.metrics import quality

NONE = np.nan
AGGREGATIONS = ("mean", "max", "noisy_or", "top_k")

SLIDES = ("b", "b", "a", "a", "c", "c", "d", "d")
PATIENTS = ("q", "q", "p", "p", "r", "r", "r", "r")
TABLE = pd.DataFrame({"slide": SLIDES, "patient": PATIENTS}, index=range(100, 108))
"""Eight patches of four slides of three patients."""


def labels(**slides: tuple[float, ...]) -> Targets:
    """Return what each patch was given of its slide."""
    truth = np.array([slides[slide] for slide in SLIDES], dtype=np.float32)
    return Targets(TargetKind.MULTI_LABEL, ("er", "her2")[: truth.shape[1]], truth)


def numbers(**slides: tuple[float, ...]) -> Targets:
    truth = np.array([slides[slide] for slide in SLIDES], dtype=np.float32)
    scale = Scale(np.array([5.0, 100.0]), np.array([2.0, 50.0]))
    return Targets(TargetKind.REGRESSION, ("score", "area"), truth, scale)


LABELS = labels(a=(0, 1), b=(1, NONE), c=(0, 0), d=(1, NONE))
P = np.array(
    [
        [0.8, 0.1],
        [0.6, 0.9],
        [0.4, 0.7],
        [0.7, 0.2],
        [0.1, 0.3],
        [0.3, 0.1],
        [0.2, 0.6],
        [0.9, 0.5],
    ],
    dtype=np.float32,
)
NUMBERS = numbers(a=(4, 100), b=(6, NONE), c=(1, 200), d=(3, NONE))
VALUES = np.array(
    [[5, 0], [8, 0], [4, 90], [5, 130], [1, 190], [2, 170], [5, 0], [3, 0]], dtype=np.float32
)


def test_metrics_of_labels_are_means_over_the_labels_and_the_loss_is_that_of_the_samples():
    found = column_metrics(LABELS, P)
    er = LABELS.truth[:, 0], P[:, 0]
    known = [2, 3, 4, 5]
    her2 = LABELS.truth[known, 1], P[known, 1]
    assert found["n"] == 8
    assert found["auc"] == pytest.approx((sk.roc_auc_score(*er) + sk.roc_auc_score(*her2)) / 2)
    right = (((er[1] > 0.5) == er[0]).mean(), ((her2[1] > 0.5) == her2[0]).mean())
    assert found["accuracy"] == pytest.approx(np.mean(right))
    p = np.where(LABELS.truth == 1, P, 1 - P.astype(np.float64))
    each = np.where(np.isnan(LABELS.truth), 0, -np.log(p))
    assert found["loss"] == pytest.approx(each.sum(axis=1).mean() / 2, rel=1e-6)
    assert set(found) == {
        *("n", "loss", "accuracy", "balanced_accuracy", "precision", "recall", "f1"),
        *("auc", "average_precision", "ece"),
    }


def test_a_mean_is_undefined_where_that_of_one_label_is():
    one_sided = labels(a=(0, 1), b=(1, 1), c=(0, 1), d=(1, 1))
    found = evaluate_columns(TABLE, one_sided, P)
    assert (found["auc"], found["intervals"]["auc"]) == (None, None)
    assert found["labels"]["er"]["auc"] is not None
    assert found["accuracy"] is not None
    assert found["slide"]["remark"] == "no AUC: no slide has her2 0"
    assert evaluate_columns(TABLE, LABELS, P)["slide"]["remark"] == ""


def test_a_label_of_which_nothing_is_known_leaves_the_means_empty_but_the_loss():
    found = evaluate_columns(TABLE, labels(**{slide: (slide in "ab", NONE) for slide in "abcd"}), P)
    assert found["labels"]["her2"] is None
    assert {name for name, value in found["intervals"].items() if value} == {"loss"}
    assert (found["f1"], found["n"], found["loss"] > 0) == (None, 8, True)
    assert found["labels"]["er"]["intervals"]["f1"] is not None


def test_labels_of_slides_and_patients_are_aggregated_where_they_are_known():
    found = evaluate_columns(TABLE, LABELS, P)
    slide = found["slide"]
    assert (slide["n"], slide["without_truth"]) == (4, 0)
    # Slides a, b, c, d.
    expected = sk.roc_auc_score([0, 1, 0, 1], [0.7, 0.8, 0.3, 0.9])
    assert slide["max"]["labels"]["er"]["auc"] == expected
    assert slide["mean"]["labels"]["her2"]["n"] == 2  # a .45, c .2
    assert slide["noisy_or"]["labels"]["her2"]["confusion"] == [[1, 0], [0, 1]]  # a .76, c .37
    # Patients p, q, r: er 0, 1, 1 as one slide of r is; her2 1, unknown, 0.
    patient = found["patient"]
    assert patient["mean"]["n"] == 3
    assert patient["mean"]["labels"]["er"]["confusion"] == [[0, 1], [1, 1]]  # .55, .7, .375
    # Patches of slide d, of which her2 is unknown, do not speak for r: .3, not .6.
    assert patient["max"]["labels"]["her2"]["confusion"] == [[1, 0], [0, 1]]
    assert patient["top_k"]["labels"]["her2"]["bootstrap"]["patients"] == 2


def test_the_interval_of_the_mean_auc_is_that_of_both_labels_for_the_same_patients():
    generator = np.random.default_rng(4)
    patients = np.repeat(np.arange(6), [4, 7, 5, 6, 3, 8])
    truth = np.array([[1, 0], [0, NONE], [1, 1], [0, 0], [0, 1], [1, NONE]])[patients]
    outputs = np.clip(np.nan_to_num(truth, nan=0.5) * 0.3 + 0.7 * generator.random((33, 2)), 0, 1)
    targets = Targets(TargetKind.MULTI_LABEL, ("er", "her2"), truth)
    table = pd.DataFrame({"slide": patients.astype(str), "patient": patients.astype(str)})
    found = evaluate_columns(table, targets, outputs)

    def mean_auc(draw):
        rows = np.concatenate(
            [np.flatnonzero(patients == one) for one in np.repeat(range(6), draw)]
        )
        each = []
        for column in (0, 1):
            known = rows[~np.isnan(truth[rows, column])]
            if len(set(truth[known, column].tolist())) < 2:
                return None
            each.append(sk.roc_auc_score(truth[known, column], outputs[known, column]))
        return np.mean(each)

    draws = np.random.default_rng(SEED).multinomial(6, [1 / 6] * 6, size=RESAMPLES)
    every = {tuple(draw): mean_auc(draw) for draw in draws}
    aucs = [auc for draw in draws if (auc := every[tuple(draw)]) is not None]
    assert found["intervals"]["auc"] == pytest.approx(np.percentile(aucs, [2.5, 97.5]), abs=1e-9)
    assert found["bootstrap"]["left_out"] == RESAMPLES - len(aucs)
    low, high = found["intervals"]["loss"]
    assert low < found["loss"] < high


def test_numbers_of_slides_and_patients_are_means():
    found = evaluate_columns(TABLE, NUMBERS, VALUES)
    assert found["values"]["score"]["mae"] == 0.875  # 1 2 0 1 0 1 2 0
    assert found["values"]["area"]["mae"] == 20.0  # 10 30 10 30
    assert found["mae"] == (0.875 + 20.0) / 2
    # Squares in standard deviations; two of four slides have no area.
    expected = (11 / 4 + (100 + 900 + 100 + 900) / 2500) / 8 / 2
    assert found["loss"] == pytest.approx(expected, rel=1e-12)
    # Slides a, b, c, d: true 4 6 1 3, predicted 4.5 6.5 1.5 4.
    assert found["slide"]["mean"]["values"]["score"]["mae"] == 0.625
    assert found["slide"]["max"] is None
    # Patients p, q, r: true 4 6 2, predicted 4.5 6.5 2.75; r has one slide with an area.
    patient = found["patient"]["mean"]
    assert patient["values"]["score"]["mae"] == pytest.approx((0.5 + 0.5 + 0.75) / 3)
    assert patient["values"]["area"]["mae"] == pytest.approx((10 + 20) / 2)
    assert (patient["n"], patient["values"]["area"]["n"]) == (3, 2)


@pytest.mark.parametrize(("targets", "outputs"), [(LABELS, P), (NUMBERS, VALUES)])
def test_the_whole_is_plain_json_of_one_structure(targets, outputs):
    found = evaluate_columns(TABLE, targets, outputs)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for level in ("slide", "patient"):
        assert set(found[level]) == {"n", "without_truth", "remark", *AGGREGATIONS}
        assert set(found[level]["mean"]) == set(found) - {"slide", "patient"}
    assert set(found["intervals"]) == set(column_metrics(targets, outputs)) - {"n"}
    remarked = evaluate_columns(TABLE, targets, outputs, remark="drawn")
    nothing = {"n": 0, "without_truth": 0, "remark": "drawn", **dict.fromkeys(AGGREGATIONS)}
    assert (remarked["slide"], remarked["patient"]) == (nothing, nothing)


def test_epochs_are_compared_by_the_auc_of_labels_and_the_loss_of_numbers():
    good = np.nan_to_num(LABELS.truth, nan=0.5) * 0.8 + 0.1
    assert quality(column_metrics(LABELS, good)) > quality(column_metrics(LABELS, P))
    assert quality(column_metrics(LABELS, good))[0] == 1.0
    better = VALUES * 0.5 + 0.5 * np.nan_to_num(NUMBERS.truth)
    assert quality(column_metrics(NUMBERS, better)) > quality(column_metrics(NUMBERS, VALUES))

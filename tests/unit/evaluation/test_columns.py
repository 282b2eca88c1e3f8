"""A label is judged as two classes, a number by its errors, each where it is known."""

import functools

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.answers import Answers, ColumnAnswers
from lamella.evaluation.bootstrap import RESAMPLES, SEED
from lamella.evaluation.columns import Value, columns_of
from lamella.evaluation.evaluate import evaluate_answers


def drawn_values(patients: int = 4, *, seed: int = 2) -> Value:
    """Return values that are the same for all samples of a patient, as those of its slide are."""
    generator = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(patients), generator.integers(3, 9, patients))
    true = np.array([3.0, 3.0, 5.5, 40.0, 7.0, 8.0, 9.0])[numbers]
    return Value(true, true + generator.normal(0, 3, len(true)).round(1), numbers, deviation=8.0)


def test_a_label_is_judged_as_two_classes_from_the_samples_of_which_it_is_known():
    truth = np.array([[1, np.nan], [0, 1], [np.nan, 1], [1, 0], [0, 0]], dtype=np.float32)
    outputs = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.7], [0.3, 0.8], [0.1, 0.2]], np.float32)
    patients = np.array([0, 0, 1, 1, 2])
    answers = ColumnAnswers(
        Targets(TargetKind.MULTI_LABEL, ("er", "her2"), truth), outputs, patients
    )
    found = columns_of(answers)["her2"].evaluate()
    p = outputs[1:, 1].astype(np.float64)
    alone = Answers(np.array([1, 1, 0, 0]), np.stack([1 - p, p], axis=1), patients[1:])
    assert found == evaluate_answers(alone, ("0", "1"))
    assert found["auc"] == sk.roc_auc_score([1, 1, 0, 0], p)
    assert found["classes"]["1"]["n"] == 2


def test_a_column_of_which_nothing_is_known_has_no_answers():
    truth = np.array([[1, np.nan], [0, np.nan]])
    targets = Targets(TargetKind.REGRESSION, ("a", "b"), truth, Scale(np.zeros(2), np.ones(2)))
    found = columns_of(ColumnAnswers(targets, truth * 0, np.arange(2)))
    assert found["b"] is None
    assert found["a"].metrics()["mae"] == 0.5


def test_numbers_agree_with_scikit_learn_and_scipy():
    value = drawn_values(7)
    true, predicted = value.true, value.predicted
    found = value.metrics()
    assert found == {
        "n": len(true),
        "loss": pytest.approx(sk.mean_squared_error(true, predicted) / 64, abs=1e-9),
        "mae": pytest.approx(sk.mean_absolute_error(true, predicted), abs=1e-9),
        "rmse": pytest.approx(sk.root_mean_squared_error(true, predicted), abs=1e-9),
        "r2": pytest.approx(sk.r2_score(true, predicted), abs=1e-9),
        "pearson": pytest.approx(scipy.stats.pearsonr(true, predicted).statistic, abs=1e-9),
        "spearman": pytest.approx(scipy.stats.spearmanr(true, predicted).statistic, abs=1e-9),
    }


@pytest.mark.parametrize(
    ("true", "predicted", "undefined"),
    [
        ([2.0], [3.0], {"r2", "pearson", "spearman"}),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], {"r2", "pearson", "spearman"}),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], {"pearson", "spearman"}),
        ([1.0, 2.0], [5.0, 3.0], set()),
    ],
)
def test_what_is_undefined_is_none(true, predicted, undefined):
    value = Value(np.array(true), np.array(predicted), np.zeros(len(true), dtype=int), 1.0)
    found = value.metrics()
    assert {name for name, figure in found.items() if figure is None} == undefined


def test_limits_are_percentiles_over_resampled_patients():
    value = drawn_values()

    @functools.cache
    def of(counts):
        copies = np.repeat(np.arange(4), counts)
        rows = np.concatenate([np.flatnonzero(value.patients == each) for each in copies])
        true, predicted = value.true[rows], value.predicted[rows]
        if len(set(true.tolist())) < 2:
            return None
        squared = sk.mean_squared_error(true, predicted)
        return {
            "loss": squared / 64,
            "mae": sk.mean_absolute_error(true, predicted),
            "rmse": np.sqrt(squared),
            "r2": sk.r2_score(true, predicted),
            "pearson": np.corrcoef(true, predicted)[0, 1],
        }

    draws = np.random.default_rng(SEED).multinomial(4, [1 / 4] * 4, size=RESAMPLES)
    every = [found for draw in draws if (found := of(tuple(draw))) is not None]
    evaluation = value.evaluate()
    assert evaluation["intervals"] == {
        "spearman": None,
        **{
            name: pytest.approx(
                np.percentile([each[name] for each in every], [2.5, 97.5]), abs=1e-9
            )
            for name in every[0]
        },
    }
    # Patients 0 and 1 have the same value: alone in a resample, nothing varies.
    assert evaluation["bootstrap"] == {
        "patients": 4,
        "resamples": RESAMPLES,
        "left_out": RESAMPLES - len(every),
    }
    assert 50 < RESAMPLES - len(every) < 110

"""Weighted metrics of numbers are those that scikit-learn and numpy give with the same weights."""

import numpy as np
import pytest
import sklearn.metrics as sk

from lamella.evaluation.value_tally import ValueTally

# Patients that count once, twice, and not at all.
WEIGHTS = np.array([[1, 1, 1, 1, 1], [0, 2, 1, 0, 3], [5, 0, 0, 1, 0.0]])


def drawn(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true and predicted values of 60 samples of five patients, far from 0."""
    generator = np.random.default_rng(seed)
    patients = np.sort(generator.integers(0, 5, 60))
    true = 1000 + generator.normal(0, 3, 5)[patients] + generator.normal(0, 1, 60)
    return true, true + generator.normal(0.5, 1.5, 60), patients


def test_all_metrics_agree_with_sample_weights():
    true, predicted, patients = drawn()
    found = ValueTally.of(true, predicted, patients, 5, deviation=2.5).metrics(WEIGHTS)
    assert list(found) == ["loss", "mae", "rmse", "r2", "pearson"]
    for number, weights in enumerate(WEIGHTS):
        each = weights[patients]
        squared = sk.mean_squared_error(true, predicted, sample_weight=each)
        copies = np.repeat(np.arange(60), each.astype(int))
        expected = {
            "loss": squared / 2.5**2,
            "mae": sk.mean_absolute_error(true, predicted, sample_weight=each),
            "rmse": np.sqrt(squared),
            "r2": sk.r2_score(true, predicted, sample_weight=each),
            "pearson": np.corrcoef(true[copies], predicted[copies])[0, 1],
        }
        assert {name: values[number] for name, values in found.items()} == {
            name: pytest.approx(value, abs=1e-9) for name, value in expected.items()
        }


def test_a_patient_far_away_that_does_not_count_costs_no_digits():
    true, predicted, patients = drawn()
    true[patients == 0] += 1e9
    found = ValueTally.of(true, predicted, patients, 5, deviation=1.0).metrics(WEIGHTS[1:2])
    each = WEIGHTS[1][patients]
    expected = sk.r2_score(true, predicted, sample_weight=each)
    assert found["r2"] == pytest.approx([expected], abs=1e-9)


def test_metrics_that_are_undefined_for_all_samples_are_not_there():
    same, other, groups = np.full(4, 0.1), np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])
    weights = np.ones((1, 2))
    constant_truth = ValueTally.of(same, other, groups, 2, deviation=1.0).metrics(weights)
    assert list(constant_truth) == ["loss", "mae", "rmse"]
    constant_answers = ValueTally.of(other, same, groups, 2, deviation=1.0).metrics(weights)
    assert list(constant_answers) == ["loss", "mae", "rmse", "r2"]


def test_weights_under_which_values_do_not_vary_or_nothing_counts_are_told():
    # Patients 0 and 1 have the same value; patient 3 has no samples.
    true = np.array([0.1, 0.1, 0.1, 0.7])
    groups = np.array([0, 0, 1, 2])
    weights = np.array([[1, 1, 1, 1], [3, 1, 0, 0], [0, 0, 2, 1], [1, 0, 1, 0], [0, 0, 0, 4.0]])
    predicted = np.array([0.0, 1.0, 2.0, 2.0])
    tally = ValueTally.of(true, predicted, groups, 4, deviation=1.0)
    assert tally.are_usable(weights).tolist() == [True, False, False, True, False]
    # Where nothing varies at all, a resample need not vary either.
    constant = ValueTally.of(np.ones(4), predicted * 0, groups, 4, deviation=1.0)
    assert constant.are_usable(weights).tolist() == [True, True, True, True, False]

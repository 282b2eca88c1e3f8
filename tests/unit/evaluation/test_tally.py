"""Weighted metrics are those that scikit-learn gives with the same weights."""

import numpy as np
import pytest
import sklearn.metrics as sk

from lamella.evaluation import tally as tally_module
from lamella.evaluation.answers import Answers
from lamella.evaluation.metrics import classification_metrics
from lamella.evaluation.tally import Tally

# Patients that count once, twice, and not at all; patient 0 has class 0 alone.
WEIGHTS = np.array([[1, 1, 1, 1, 1, 1, 1], [0, 2, 1, 0, 3, 0, 1], [5, 0, 0, 1, 1, 0, 0.0]])


def repeated(answers, weights):
    """Return the answers, those of each patient as often as it counts."""
    rows = np.repeat(np.arange(len(answers.labels)), weights[answers.patients].astype(int))
    return answers.labels[rows], answers.probabilities[rows]


def test_all_metrics_are_those_of_the_samples_written_out_as_often_as_they_count(answers):
    found = Tally.of(answers, answers.patients, 7).metrics(WEIGHTS)
    for number, weights in enumerate(WEIGHTS):
        expected = classification_metrics(*repeated(answers, weights))
        del expected["n"]
        assert {name: values[number] for name, values in found.items()} == {
            name: pytest.approx(value, abs=1e-9) for name, value in expected.items()
        }


def test_areas_agree_with_scikit_learns_sample_weights(answers):
    found = Tally.of(answers, answers.patients, 7).metrics(WEIGHTS)
    classes = answers.probabilities.shape[1]
    for number, weights in enumerate(WEIGHTS):
        each = [
            (answers.labels == label, answers.probabilities[:, label], weights[answers.patients])
            for label in ((1,) if classes == 2 else range(classes))
        ]
        auc = np.mean([sk.roc_auc_score(t, s, sample_weight=w) for t, s, w in each])
        precision = np.mean([sk.average_precision_score(t, s, sample_weight=w) for t, s, w in each])
        assert found["auc"][number] == pytest.approx(auc, abs=1e-9)
        assert found["average_precision"][number] == pytest.approx(precision, abs=1e-9)


def test_equal_scores_count_half():
    # Pairs (true, false): 0.6 > 0.2, 0.6 = 0.6, 0.2 = 0.2, 0.2 < 0.6.
    answers = Answers(
        np.array([1, 1, 0, 0]),
        np.array([[0.4, 0.6], [0.8, 0.2], [0.8, 0.2], [0.4, 0.6]]),
        np.zeros(4, dtype=np.int64),
    )
    assert Tally.of(answers, answers.patients, 1).metrics(np.ones((1, 1)))["auc"] == [0.5]


def test_few_samples_at_a_time_give_the_same(answers, monkeypatch):
    whole = Tally.of(answers, answers.patients, 7).metrics(WEIGHTS)
    monkeypatch.setattr(tally_module, "_SAMPLES_AT_A_TIME", len(answers.labels) + 1)
    parts = Tally.of(answers, answers.patients, 7).metrics(WEIGHTS)
    assert parts == {name: pytest.approx(values, abs=1e-12) for name, values in whole.items()}


def test_weights_that_leave_a_class_without_samples_are_told(answers):
    only_class_0 = np.eye(7)[:1]
    tally = Tally.of(answers, answers.patients, 7)
    assert tally.has_all_classes(np.concatenate([WEIGHTS, only_class_0])).tolist() == [
        *(True, True, True),
        False,
    ]


def test_without_samples_of_a_class_there_are_no_areas():
    answers = Answers(np.array([0, 0]), np.array([[0.4, 0.6], [0.8, 0.2]]), np.array([0, 1]))
    found = Tally.of(answers, answers.patients, 2).metrics(np.ones((1, 2)))
    assert "auc" not in found
    assert found["accuracy"] == [0.5]

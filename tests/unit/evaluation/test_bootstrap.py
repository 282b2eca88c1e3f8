"""Intervals are those of patients drawn with replacement, written out."""

import functools

import numpy as np
import pytest
import sklearn.metrics as sk

from lamella.evaluation.answers import Answers
from lamella.evaluation.bootstrap import RESAMPLES, SEED, bootstrap


def slow_aucs(answers, patients):
    """Return the AUC of every resample that has both classes, patients copied one by one."""

    @functools.cache
    def auc(counts):
        copies = np.repeat(np.arange(patients), counts)
        rows = np.concatenate([np.flatnonzero(answers.patients == each) for each in copies])
        labels = answers.labels[rows]
        if len(set(labels.tolist())) < 2:
            return None
        return sk.roc_auc_score(labels, answers.probabilities[rows, 1])

    generator = np.random.default_rng(SEED)
    draws = generator.multinomial(patients, [1 / patients] * patients, size=RESAMPLES)
    return [value for draw in draws if (value := auc(tuple(draw))) is not None]


def few_patients() -> Answers:
    """Four patients; one alone has class 1, and one more a single patch of it."""
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1])
    tumor = np.array([0.1, 0.6, 0.3, 0.7, 0.4, 0.9, 0.8, 0.2, 0.5, 0.35, 0.1, 0.45])
    patients = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3])
    return Answers(labels, np.stack([1 - tumor, tumor], axis=1), patients)


def test_limits_are_percentiles_over_resampled_patients_and_lost_classes_are_counted():
    answers = few_patients()
    aucs = slow_aucs(answers, 4)
    found = bootstrap(answers)
    expected = (np.percentile(aucs, 2.5), np.percentile(aucs, 97.5))
    assert found.limits["auc"] == pytest.approx(expected, abs=1e-9)
    assert found.patients == 4
    # Neither of the two patients with class 1 is drawn in about (2/4)^4 of the resamples.
    assert found.left_out == RESAMPLES - len(aucs)
    assert 40 < found.left_out < 85


def test_patches_of_one_patient_are_drawn_together():
    # Copies of the same patches tell nothing new, and the interval stays as wide.
    answers = few_patients()
    copies = Answers(*(np.repeat(part, 50, axis=0) for part in vars(answers).values()))
    assert bootstrap(copies).limits["accuracy"] == pytest.approx(
        bootstrap(answers).limits["accuracy"]
    )


def test_equal_seeds_give_equal_limits_and_others_give_others(answers):
    assert bootstrap(answers) == bootstrap(answers)
    assert bootstrap(answers).limits["loss"] != bootstrap(answers, seed=1).limits["loss"]


def test_every_metric_lies_within_its_limits(answers):
    limits = bootstrap(answers).limits
    assert len(limits) == 9
    assert all(0 <= low < high for low, high in limits.values())


def test_one_patient_gives_no_interval():
    answers = few_patients()
    one = Answers(answers.labels, answers.probabilities, np.zeros(12, dtype=np.int64))
    assert (bootstrap(one).limits, bootstrap(one).patients) == ({}, 1)


def test_classes_that_never_meet_in_a_resample_give_no_interval(monkeypatch):
    monkeypatch.setattr("lamella.evaluation.bootstrap._draws", lambda *_: np.eye(4)[[0, 2]])
    found = bootstrap(few_patients())
    assert found.limits == {}
    assert found.left_out == RESAMPLES

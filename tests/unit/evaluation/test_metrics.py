import numpy as np
import pytest
import sklearn.metrics as sk
from lamella.training.metrics import patch_metrics, quality


def drawn(classes: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, n)
    scores = generator.normal(0, 1, (n, classes)) + 1.2 * (labels[:, None] == np.arange(classes))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return labels, probabilities.astype(np.float32)


def test_two_classes_agree_with_scikit_learn():
    labels, probabilities = drawn(2)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert patch_metrics(labels, probabilities) == {
        "n": 200,
        "loss": pytest.approx(sk.log_loss(labels, exact), rel=1e-6),
        "accuracy": pytest.approx(sk.accuracy_score(labels, exact[:, 1] > 0.5), rel=1e-12),
        "balanced_accuracy": pytest.approx(
            sk.balanced_accuracy_score(labels, exact[:, 1] > 0.5), rel=1e-12
        ),
        "auc": pytest.approx(sk.roc_auc_score(labels, exact[:, 1]), rel=1e-12),
        "average_precision": pytest.approx(
            sk.average_precision_score(labels, exact[:, 1]), rel=1e-12
        ),
    }


def test_three_classes_are_judged_each_against_the_rest():
    labels, probabilities = drawn(3)
    found = patch_metrics(labels, probabilities)
    one = [sk.roc_auc_score(labels == k, probabilities[:, k]) for k in range(3)]
    assert found["auc"] == pytest.approx(np.mean(one), rel=1e-12)
    assert found["accuracy"] == (probabilities.argmax(axis=1) == labels).mean()


def test_small_example_by_hand():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], dtype=np.float32)
    found = patch_metrics(labels, probabilities)
    assert found["auc"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["loss"] == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.7]).mean(), rel=1e-6)


def test_ranking_is_undefined_with_one_class_and_a_sure_error_has_a_finite_loss():
    found = patch_metrics(np.array([0, 0]), np.array([[0, 1], [1, 0]], dtype=np.float32))
    assert (found["auc"], found["average_precision"]) == (None, None)
    assert found["balanced_accuracy"] == 0.5
    assert found["loss"] == pytest.approx(-np.log(1e-7) / 2)


def test_epochs_are_compared_by_auc_then_by_loss():
    def of(auc: float | None, loss: float) -> tuple[float, float]:
        return quality({"auc": auc, "loss": loss})

    assert of(0.9, 0.5) > of(0.8, 0.1)
    assert of(0.9, 0.4) > of(0.9, 0.5)
    assert of(None, 0.4) > of(None, 0.5)

import numpy as np
import pytest
import sklearn.metrics as sk

from lamella.evaluation.metrics import class_metrics, classification_metrics, quality


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
    predicted = exact[:, 1] > 0.5
    found = classification_metrics(labels, probabilities)
    assert found.pop("ece") > 0  # scikit-learn has none: see test_calibration
    assert found == {
        "n": 200,
        "loss": pytest.approx(sk.log_loss(labels, exact), rel=1e-6),
        "accuracy": pytest.approx(sk.accuracy_score(labels, predicted), rel=1e-12),
        "balanced_accuracy": pytest.approx(
            sk.balanced_accuracy_score(labels, predicted), rel=1e-12
        ),
        "precision": pytest.approx(
            sk.precision_score(labels, predicted, average="macro"), rel=1e-12
        ),
        "recall": pytest.approx(sk.recall_score(labels, predicted, average="macro"), rel=1e-12),
        "f1": pytest.approx(sk.f1_score(labels, predicted, average="macro"), rel=1e-12),
        "auc": pytest.approx(sk.roc_auc_score(labels, exact[:, 1]), rel=1e-12),
        "average_precision": pytest.approx(
            sk.average_precision_score(labels, exact[:, 1]), rel=1e-12
        ),
    }


def test_three_classes_are_judged_each_against_the_rest():
    labels, probabilities = drawn(3)
    found = classification_metrics(labels, probabilities)
    one = [sk.roc_auc_score(labels == k, probabilities[:, k]) for k in range(3)]
    assert found["auc"] == pytest.approx(np.mean(one), rel=1e-12)
    assert found["accuracy"] == (probabilities.argmax(axis=1) == labels).mean()
    expected = sk.average_precision_score(np.eye(3)[labels], probabilities, average="macro")
    assert found["average_precision"] == pytest.approx(expected, rel=1e-12)


def test_each_class_agrees_with_scikit_learn():
    labels, probabilities = drawn(3)
    predicted = probabilities.argmax(axis=1)
    report = sk.classification_report(labels, predicted, output_dict=True)
    for label in range(3):
        found = class_metrics(labels, probabilities, label)
        score, true = probabilities[:, label], labels == label
        assert found["n"] == report[str(label)]["support"]
        assert found["precision"] == pytest.approx(report[str(label)]["precision"], rel=1e-12)
        assert found["recall"] == pytest.approx(report[str(label)]["recall"], rel=1e-12)
        assert found["f1"] == pytest.approx(report[str(label)]["f1-score"], rel=1e-12)
        assert found["auc"] == pytest.approx(sk.roc_auc_score(true, score), rel=1e-12)
        expected = sk.average_precision_score(true, score)
        assert found["average_precision"] == pytest.approx(expected, rel=1e-12)


def test_a_class_without_samples_has_no_figures_and_is_left_out_of_the_means():
    labels = np.array([0, 0, 0, 1, 1])
    predicted = [0, 0, 2, 1, 0]
    probabilities = np.eye(3, dtype=np.float32)[predicted]
    found = classification_metrics(labels, probabilities)
    assert found["recall"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["f1"] == pytest.approx((4 / 6 + 2 / 3) / 2)
    assert (found["auc"], found["average_precision"]) == (None, None)
    absent = class_metrics(labels, probabilities, 2)
    assert absent.pop("n") == 0
    assert set(absent.values()) == {None}


def test_a_class_that_is_never_predicted_has_precision_0():
    labels = np.array([0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], dtype=np.float32)
    assert class_metrics(labels, probabilities, 1)["precision"] == 0.0
    assert classification_metrics(labels, probabilities)["precision"] == pytest.approx(1 / 3)


def test_a_class_that_all_samples_have_has_no_auc():
    found = class_metrics(np.array([1, 1]), np.array([[0.4, 0.6], [0.7, 0.3]]), 1)
    assert (found["auc"], found["recall"], found["average_precision"]) == (None, 0.5, 1.0)


def test_small_example_by_hand():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], dtype=np.float32)
    found = classification_metrics(labels, probabilities)
    assert found["auc"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["loss"] == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.7]).mean(), rel=1e-6)


def test_ranking_is_undefined_with_one_class_and_a_sure_error_has_a_finite_loss():
    found = classification_metrics(np.array([0, 0]), np.array([[0, 1], [1, 0]], dtype=np.float32))
    assert (found["auc"], found["average_precision"]) == (None, None)
    assert found["balanced_accuracy"] == 0.5
    assert found["loss"] == pytest.approx(-np.log(1e-7) / 2)


def test_epochs_are_compared_by_auc_then_by_loss():
    def of(auc: float | None, loss: float) -> tuple[float, float]:
        return quality({"auc": auc, "loss": loss})

    assert of(0.9, 0.5) > of(0.8, 0.1)
    assert of(0.9, 0.4) > of(0.9, 0.5)
    assert of(None, 0.4) > of(None, 0.5)

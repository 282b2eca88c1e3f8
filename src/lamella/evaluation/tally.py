"""Metrics of samples whose patients count once, several times, or not at all.

scikit-learn would sort all samples anew for each set of weights. Here they are sorted and counted
once; then a set of weights costs a few passes over the samples, and most metrics none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lamella.evaluation.answers import Answers
from lamella.evaluation.calibration import BINS, bin_numbers, confidences
from lamella.evaluation.losses import class_losses
from lamella.evaluation.metrics import ranked_classes

_SAMPLES_AT_A_TIME = 2**20
"""Bounds the memory: some arrays of this length in double precision."""

_Figures = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class _Ranking:
    """The samples by falling score of one class, in runs of equal scores.

    Only runs with samples of the class matter: in the others nothing is found.

    Attributes:
        groups: ``(n,)`` group of each sample.
        true_groups: ``(k,)`` the same of the samples of the class alone.
        starts: ``(runs,)`` samples before each run.
        ends: ``(runs,)`` samples up to its end.
        last_true: ``(runs,)`` its last sample of the class, a position in ``true_groups``.
    """

    groups: NDArray[np.int64]
    true_groups: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    last_true: NDArray[np.int64]

    @classmethod
    def of(cls, answers: Answers, groups: NDArray[np.int64], label: int) -> Self:
        score = answers.probabilities[:, label]
        order = np.argsort(-score, kind="stable")
        true = answers.labels[order] == label
        ends = np.append(np.flatnonzero(np.diff(score[order])) + 1, len(score))
        # Samples of the class up to the end of each run, and in it.
        found = np.cumsum(true)[ends - 1]
        matters = np.diff(found, prepend=0) > 0
        return cls(
            groups=groups[order],
            true_groups=groups[order][true],
            starts=np.append(0, ends[:-1])[matters],
            ends=ends[matters],
            last_true=found[matters] - 1,
        )

    def areas(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return area under the ROC curve and average precision, each ``(sets,)``."""
        every = np.zeros((len(weights), len(self.groups) + 1))
        np.cumsum(weights[:, self.groups], axis=1, out=every[:, 1:])
        true = np.cumsum(weights[:, self.true_groups], axis=1)[:, self.last_true]
        up_to_end = every[:, self.ends]
        found, seen = np.diff(true, prepend=0.0), up_to_end - every[:, self.starts]
        positives, negatives = true[:, -1:], every[:, -1:] - true[:, -1:]
        # A true sample beats the false ones after its run, and half of those in it.
        beaten = negatives - (up_to_end - true) + (seen - found) / 2
        auc = (found * beaten).sum(axis=1) / (positives * negatives)[:, 0]
        # Samples of weight 0 may come first; nothing is found there.
        precision = np.divide(true, up_to_end, out=np.zeros_like(true), where=up_to_end > 0)
        return auc, (found * precision).sum(axis=1) / positives[:, 0]


@dataclass(frozen=True)
class Tally:
    """What the samples of each group add to the metrics.

    Attributes:
        confusion: ``(groups, classes, classes)`` samples by true and predicted class.
        losses: ``(groups,)`` sums.
        gaps: ``(groups, BINS)`` right answers minus the sum of the confidences.
        rankings: One for each class whose AUC is asked for.
    """

    confusion: NDArray[np.float64]
    losses: NDArray[np.float64]
    gaps: NDArray[np.float64]
    rankings: tuple[_Ranking, ...]

    @classmethod
    def of(cls, answers: Answers, groups: NDArray[np.int64], n_groups: int) -> Self:
        """Return the tally of some answers.

        Args:
            answers: At least one.
            groups: ``(n,)`` group of each, 0 … ``n_groups - 1``.
            n_groups: Number of groups.
        """
        labels, probabilities = answers.labels, answers.probabilities
        classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
        confidence = confidences(probabilities)
        cell = (groups * classes + labels) * classes + predicted
        gap = (labels == predicted) - confidence
        return cls(
            confusion=_sums(cell, None, (n_groups, classes, classes)),
            losses=_sums(groups, class_losses(labels, probabilities), (n_groups,)),
            gaps=_sums(groups * BINS + bin_numbers(confidence), gap, (n_groups, BINS)),
            rankings=tuple(
                _Ranking.of(answers, groups, label) for label in ranked_classes(labels, classes)
            ),
        )

    def has_all_classes(self, weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which sets of weights, ``(sets, groups)``, leave no true class without samples."""
        samples = self.confusion.sum(axis=2)
        present = samples.sum(axis=0) > 0
        kept: NDArray[np.bool_] = (weights @ samples[:, present] > 0).all(axis=1)
        return kept

    def metrics(self, weights: NDArray[np.float64]) -> _Figures:
        """Return the metrics under several sets of weights.

        Args:
            weights: ``(sets, groups)``, each how often the group's samples count; under each set,
                every class among the labels must count.

        Returns:
            The metrics of ``classification_metrics`` but ``n``, each ``(sets,)``; without
            ``auc`` and ``average_precision`` where these are undefined.
        """
        confusion = np.tensordot(weights, self.confusion, axes=1)
        total = confusion.sum(axis=(1, 2))
        return {
            "loss": weights @ self.losses / total,
            "ece": np.abs(weights @ self.gaps).sum(axis=1) / total,
            **_class_means(confusion),
            **self._areas(weights),
        }

    def _areas(self, weights: NDArray[np.float64]) -> _Figures:
        if not self.rankings:
            return {}
        parts = [
            np.mean([ranking.areas(some) for ranking in self.rankings], axis=0)
            for some in _chunks(weights, len(self.rankings[0].groups))
        ]
        auc, average_precision = np.concatenate(parts, axis=1)
        return {"auc": auc, "average_precision": average_precision}


def _sums(
    places: NDArray[np.int64], values: NDArray[np.float64] | None, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    found = np.bincount(places, values, minlength=int(np.prod(shape)))
    return found.reshape(shape).astype(np.float64)


def _chunks(weights: NDArray[np.float64], samples: int) -> Iterator[NDArray[np.float64]]:
    step = max(1, _SAMPLES_AT_A_TIME // samples)
    for start in range(0, len(weights), step):
        yield weights[start : start + step]


def _class_means(confusion: NDArray[np.float64]) -> _Figures:
    """Return the metrics of confusion matrices, ``(sets, classes, classes)``, each ``(sets,)``."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    # The same in all sets: those that leave a class without samples are not asked for.
    present = true.any(axis=0)
    right, true, predicted = right[:, present], true[:, present], predicted[:, present]
    recall = (right / true).mean(axis=1)
    return {
        "accuracy": right.sum(axis=1) / confusion.sum(axis=(1, 2)),
        "balanced_accuracy": recall,
        # A class that is never predicted has no right answers either: 0 / 1.
        "precision": (right / np.maximum(predicted, 1)).mean(axis=1),
        "recall": recall,
        "f1": (2 * right / (true + predicted)).mean(axis=1),
    }

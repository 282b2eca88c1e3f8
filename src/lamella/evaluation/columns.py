"""How good the answers about one column of the slide table are: a label, or a number."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lamella.datasets.settings import TargetKind
from lamella.evaluation.answers import Answers, ColumnAnswers
from lamella.evaluation.bootstrap import Weighable, intervals_of, renumbered
from lamella.evaluation.evaluate import Evaluation, evaluate_answers, with_intervals
from lamella.evaluation.metrics import Metrics, classification_metrics
from lamella.evaluation.tally import Tally
from lamella.evaluation.value_tally import ValueTally

LABEL_CLASSES = ("0", "1")
"""The two classes of a label, as the slide table spells them."""


@dataclass(frozen=True)
class Label:
    """The answers about one label, which are those to two classes.

    Attributes:
        answers: Answers to the samples of which it is known, at least one.
    """

    answers: Answers

    def metrics(self) -> Metrics:
        """Return the metrics of two classes."""
        return classification_metrics(self.answers.labels, self.answers.probabilities)

    def evaluate(self) -> Evaluation:
        """Return all that is said of answers to two classes."""
        return evaluate_answers(self.answers, LABEL_CLASSES)

    def weighable(self, patients: int) -> Weighable:
        """Return the metrics by how often each of so many patients counts."""
        tally = Tally.of(self.answers, self.answers.patients, patients)
        return Weighable(tally.has_all_classes, tally.metrics)


@dataclass(frozen=True)
class Value:
    """The answers about one number.

    Attributes:
        true: ``(n,)`` true values of the samples of which it is known, at least one.
        predicted: ``(n,)``.
        patients: ``(n,)`` as in ``Answers``.
        deviation: That of the training's true values.
    """

    true: NDArray[np.float64]
    predicted: NDArray[np.float64]
    patients: NDArray[np.int64]
    deviation: float

    def metrics(self) -> Metrics:
        """Return ``n, loss, mae, rmse, r2, pearson, spearman``.

        ``r2`` is ``None`` where the true values are all equal, ``pearson`` and ``spearman`` where
        these or the predicted ones are.
        """
        nobody = np.zeros(len(self.true), dtype=np.int64)
        found = replace(self, patients=nobody).weighable(1).metrics(np.ones((1, 1)))
        names = ("loss", "mae", "rmse", "r2", "pearson")
        return {
            "n": len(self.true),
            **{name: float(found[name][0]) if name in found else None for name in names},
            "spearman": self._spearman() if "pearson" in found else None,
        }

    def evaluate(self) -> Evaluation:
        """Return the metrics with 95 % intervals over patients; ``spearman`` has none.

        Its ranks would have to be found anew for every resample.
        """
        numbers, patients = renumbered(self.patients)
        samples = replace(self, patients=numbers).weighable(patients)
        return with_intervals(self.metrics(), intervals_of(samples, patients))

    def weighable(self, patients: int) -> Weighable:
        """Return the metrics by how often each of so many patients counts."""
        tally = ValueTally.of(
            self.true, self.predicted, self.patients, patients, deviation=self.deviation
        )
        return Weighable(tally.are_usable, tally.metrics)

    def _spearman(self) -> float:
        return float(np.corrcoef(rankdata(self.true), rankdata(self.predicted))[0, 1])


def columns_of(answers: ColumnAnswers) -> dict[str, Label | Value | None]:
    """Return the answers about each column by its name; ``None`` where nothing is known of it."""
    names = answers.targets.names
    return {name: _column(answers, number) for number, name in enumerate(names)}


def _column(answers: ColumnAnswers, number: int) -> Label | Value | None:
    targets = answers.targets
    known = np.flatnonzero(~np.isnan(targets.truth[:, number]))
    if not len(known):
        return None
    truth, patients = targets.truth[known, number], answers.patients[known]
    found = answers.outputs[known, number].astype(np.float64)
    if targets.kind is TargetKind.MULTI_LABEL:
        both = np.stack([1 - found, found], axis=1)
        return Label(Answers(truth.astype(np.int64), both, patients))
    assert targets.scale is not None
    deviation = float(targets.scale.deviations[number])
    return Value(truth.astype(np.float64), found, patients, deviation)

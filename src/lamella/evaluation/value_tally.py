"""Metrics of numbers whose patients count once, several times, or not at all.

The samples are gone through once: what a group adds to the sums of squares follows from its own
sums and from its means. Then a set of weights costs a pass over the groups.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Moments:
    """Mean and spread of one quantity in each group.

    Attributes:
        means: ``(groups,)``; 0 without samples.
        lows: ``(groups,)`` lowest value; infinity without samples.
        highs: ``(groups,)`` highest value; minus infinity without samples.
        residuals: ``(n,)`` each sample's distance from the mean of its group.
    """

    means: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    residuals: NDArray[np.float64]

    @classmethod
    def of(
        cls, values: NDArray[np.float64], groups: NDArray[np.int64], samples: NDArray[np.float64]
    ) -> Self:
        means = np.bincount(groups, values, len(samples)) / np.maximum(samples, 1)
        lows, highs = np.full(len(samples), np.inf), np.full(len(samples), -np.inf)
        np.minimum.at(lows, groups, values)
        np.maximum.at(highs, groups, values)
        return cls(means, lows, highs, values - means[groups])

    @property
    def varies(self) -> bool:
        return bool(self.lows.min() < self.highs.max())

    def varies_under(self, weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return under which sets of weights not all values are equal; exactly, not by a sum."""
        drawn = weights > 0
        lows = np.where(drawn, self.lows, np.inf).min(axis=1)
        return np.asarray(lows < np.where(drawn, self.highs, -np.inf).max(axis=1))

    def distances(
        self, weights: NDArray[np.float64], samples: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the distance of each group's mean from that of all samples, ``(sets, groups)``."""
        overall = weights @ (samples * self.means) / (weights @ samples)
        return np.asarray(self.means - overall[:, None])


@dataclass(frozen=True)
class ValueTally:
    """What the samples of each group add to the metrics of a number.

    Attributes:
        samples: ``(groups,)`` how many.
        absolute: ``(groups,)`` sums of the absolute errors.
        squared: ``(groups,)`` sums of the squared errors.
        true: Moments of the true values.
        predicted: Moments of the predicted values.
        products: ``(groups, 3)`` sums of the products of residuals: true with true, predicted with
            predicted, true with predicted.
        deviation: What errors are divided by in the loss.
    """

    samples: NDArray[np.float64]
    absolute: NDArray[np.float64]
    squared: NDArray[np.float64]
    true: _Moments
    predicted: _Moments
    products: NDArray[np.float64]
    deviation: float

    @classmethod
    def of(
        cls,
        true: NDArray[np.float64],
        predicted: NDArray[np.float64],
        groups: NDArray[np.int64],
        n_groups: int,
        *,
        deviation: float,
    ) -> Self:
        """Return the tally of some values.

        Args:
            true: ``(n,)``, at least one.
            predicted: ``(n,)``.
            groups: ``(n,)`` group of each, 0 … ``n_groups - 1``.
            n_groups: Number of groups.
            deviation: That of the training's true values.
        """

        def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(groups, values, n_groups), dtype=np.float64)

        samples, errors = sums(np.ones(len(true))), predicted - true
        moments = [_Moments.of(values, groups, samples) for values in (true, predicted)]
        t, p = (each.residuals for each in moments)
        return cls(
            samples=samples,
            absolute=sums(np.abs(errors)),
            squared=sums(errors**2),
            true=moments[0],
            predicted=moments[1],
            products=np.stack([sums(t * t), sums(p * p), sums(t * p)], axis=1),
            deviation=deviation,
        )

    def are_usable(self, weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which sets of weights, ``(sets, groups)``, leave all metrics defined."""
        usable = weights @ self.samples > 0
        for moments in (self.true, self.predicted):
            if moments.varies:
                usable &= moments.varies_under(weights)
        return np.asarray(usable)

    def metrics(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return the metrics under several sets of weights.

        Args:
            weights: ``(sets, groups)``, each how often the group's samples count, and usable.

        Returns:
            ``loss, mae, rmse, r2, pearson``, each ``(sets,)``; without ``r2`` where the true values
            are all equal, and without ``pearson`` where these or the predicted ones are.
        """
        count = weights @ self.samples
        squared = weights @ self.squared / count
        found = {
            "loss": squared / self.deviation**2,
            "mae": weights @ self.absolute / count,
            "rmse": np.sqrt(squared),
        }
        true, predicted, both = self._sums_of_squares(weights)
        if self.true.varies:
            found["r2"] = 1 - squared * count / true
        if self.true.varies and self.predicted.varies:
            found["pearson"] = np.clip(both / np.sqrt(true * predicted), -1.0, 1.0)
        return found

    def _sums_of_squares(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those of ``products``, about the means of all samples, ``(3, sets)``.

        Source:
            Chan, Golub and LeVeque 1982, sums of squares from those of parts,
            doi:10.1007/978-3-642-51461-6_3.
        """
        true = self.true.distances(weights, self.samples)
        predicted = self.predicted.distances(weights, self.samples)
        counts = weights * self.samples
        between = [
            (counts * one * other).sum(axis=1)
            for one, other in ((true, true), (predicted, predicted), (true, predicted))
        ]
        return np.asarray((weights @ self.products).T + np.stack(between))

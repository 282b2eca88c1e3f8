"""What is learned from, of each sample: a reference in numpy, by which networks are judged."""

import numpy as np
from numpy.typing import NDArray

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets

_LEAST_PROBABILITY = 1e-7
"""Near the resolution of float32 below 1; bounds the loss of one sample at 16."""


def sample_losses(targets: Targets, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the loss of each sample, ``(n,)``; ``lamella.datasets.targets`` says which it is.

    Args:
        targets: What is true of the samples; something is known of each.
        outputs: ``(n, classes)`` or ``(n, k)`` probabilities, or ``(n, k)`` values in the units of
            the table.
    """
    match targets.kind:
        case TargetKind.CLASSES:
            return class_losses(targets.truth.astype(np.int64), outputs)
        case TargetKind.MULTI_LABEL:
            return _mean_of_known(_label_losses(targets.truth, outputs))
        case TargetKind.REGRESSION:
            assert targets.scale is not None
            return _mean_of_known(_value_losses(targets.truth, outputs, targets.scale))


def class_losses(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return ``-log p`` of the true class of each sample, in nats, ``(n,)``."""
    return _surprise(probabilities[np.arange(len(labels)), labels])


def _label_losses(
    truth: NDArray[np.int64] | NDArray[np.floating], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return ``-log`` of the probability of what is true, ``(n, k)``; NaN where it is unknown."""
    exact = probabilities.astype(np.float64)
    losses = _surprise(np.where(truth == 1, exact, 1 - exact))
    return np.where(np.isnan(truth), np.nan, losses)


def _value_losses(
    truth: NDArray[np.int64] | NDArray[np.floating], values: NDArray[np.floating], scale: Scale
) -> NDArray[np.float64]:
    """Return the squares of the standardised errors, ``(n, k)``; NaN where the value is unknown."""
    errors: NDArray[np.float64] = (values.astype(np.float64) - truth) / scale.deviations
    return errors**2


def _surprise(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    exact = np.maximum(probabilities.astype(np.float64), _LEAST_PROBABILITY)
    return np.asarray(-np.log(exact), dtype=np.float64)


def _mean_of_known(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of each row's known losses, divided by their number were all known."""
    return np.asarray(np.nansum(losses, axis=1) / losses.shape[1], dtype=np.float64)

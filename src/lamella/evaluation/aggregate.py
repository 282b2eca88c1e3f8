"""From the probabilities of many patches to those of the slide or patient they come from."""

import math

import numpy as np
from numpy.typing import NDArray

from lamella.evaluation.aggregation import TOP_SHARE, Aggregation


def aggregate(
    probabilities: NDArray[np.floating], aggregation: Aggregation, *, top_share: float = TOP_SHARE
) -> NDArray[np.float64]:
    """Return one probability for many, of each class.

    ``mean``: the mean, in which a small tumour drowns. ``max``: the highest, which one wrong patch
    decides. ``top_k``: the mean of the highest, between the two. ``noisy_or``: that of at least
    one, were the patches independent; with thousands of patches it is near 1 everywhere.

    Args:
        probabilities: ``(n,)`` or ``(n, classes)``, at least one row.
        aggregation: Which of them.
        top_share: With ``top_k``: the share of the rows that count, in ``(0, 1]``; rounded up.

    Returns:
        ``()`` or ``(classes,)``, each in ``[0, 1]``.

    Source:
        Pooling over the top instances: Courtiol et al. 2018, arXiv:1802.02212.
        Noisy or: Maron and Lozano-Pérez, NIPS 1998.
    """
    exact = probabilities.astype(np.float64)
    match aggregation:
        case Aggregation.MEAN:
            found = exact.mean(axis=0)
        case Aggregation.MAX:
            found = exact.max(axis=0)
        case Aggregation.NOISY_OR:
            with np.errstate(divide="ignore"):
                found = -np.expm1(np.log1p(-exact).sum(axis=0))
        case Aggregation.TOP_K:
            count = math.ceil(top_share * len(exact))
            found = np.sort(exact, axis=0)[-count:].mean(axis=0)
    return np.asarray(found, dtype=np.float64)


def class_probabilities(
    probabilities: NDArray[np.floating], aggregation: Aggregation
) -> NDArray[np.float64]:
    """Return the probabilities of a slide or patient from those of its patches; they sum to 1.

    With two classes, class 1 is what is looked for: it is aggregated, and class 0 is the rest.
    With more, each class is aggregated, and the results are divided by their sum.

    Args:
        probabilities: ``(n, classes)`` of its patches, at least one row.
        aggregation: What is made of them.

    Returns:
        ``(classes,)``.
    """
    if probabilities.shape[1] == 2:
        found = aggregate(probabilities[:, 1], aggregation)
        return np.array([1.0 - found, found])
    each = aggregate(probabilities, aggregation)
    shares: NDArray[np.float64] = each / each.sum()
    return shares

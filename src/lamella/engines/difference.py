"""The largest difference of two sets of answers, without the slow imports of ``agreement``."""

import numpy as np
from numpy.typing import NDArray


def largest_difference(
    answers: NDArray[np.float32],
    reference: NDArray[np.float32],
    *,
    units: NDArray[np.float64] | float = 1.0,
) -> float:
    """Return the largest absolute difference; NaN where either holds a NaN.

    Args:
        answers: ``(n, outputs)``.
        reference: ``(n, outputs)``.
        units: What differences are divided by: one for all, or ``(outputs,)``.
    """
    difference = answers.astype(np.float64) - reference.astype(np.float64)
    return float(np.max(np.abs(difference) / units))

"""A slide at one look: its picture, and areas of it."""

import numpy as np
from numpy.typing import NDArray

Overview = NDArray[np.uint8]
"""``(rows, columns, 3)``, RGB, of the whole slide on a bright background."""

Area = NDArray[np.bool_]
"""``[y, x]``, one cell for each pixel of the overview."""

GLASS = 235
"""Grey level that the empty glass of a brightfield slide mostly has."""

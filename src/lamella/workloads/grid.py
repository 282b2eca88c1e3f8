"""Which patches of a slide FAST takes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MIN_TISSUE_SHARE = 0.5


@dataclass(frozen=True)
class Cells:
    """Cells of a grid that starts at the slide's top-left corner.

    Attributes:
        rows: Rows of the grid; the last one may reach beyond the slide.
        columns: Columns, likewise.
        x: ``(n,)`` left borders of the chosen cells in level-0 pixels, row by row.
        y: ``(n,)`` top borders.
    """

    rows: int
    columns: int
    x: NDArray[np.int64]
    y: NDArray[np.int64]

    def corners_l0(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the top-left corners of chosen cells, ``(n, 2)`` ``(x, y)``."""
        return np.stack([self.x[places], self.y[places]], axis=1)

    def place(
        self, places: NDArray[np.int64], patch_px: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return row and column of chosen cells."""
        return self.y[places] // patch_px, self.x[places] // patch_px


def tissue_cells(tissue: NDArray[np.bool_], size_l0: tuple[int, int], patch_px: int) -> Cells:
    """Return the cells of which at least half is tissue, by FAST's rules.

    The mask of the whole slide is cut into as many parts as there are cells, each of the same
    rounded size, which need not be that of the cell.

    Args:
        tissue: ``[y, x]`` of the whole slide.
        size_l0: Width and height of the slide.
        patch_px: Edge length of a cell in level-0 pixels.

    Returns:
        No chosen cell for a slide without tissue.

    Source:
        PatchGenerator of FAST, Smistad, Østvik and Pedersen, IEEE Access 7, 2019,
        doi:10.1109/ACCESS.2019.2942441.
    """
    columns, rows = (math.ceil(length / patch_px) for length in size_l0)
    left, width = _parts(tissue.shape[1], columns)
    top, height = _parts(tissue.shape[0], rows)
    sums = np.pad(tissue, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    right, bottom = np.minimum(left + width, tissue.shape[1]), np.minimum(top + height, len(tissue))
    inside = (
        sums[np.ix_(bottom, right)]
        - sums[np.ix_(top, right)]
        - sums[np.ix_(bottom, left)]
        + sums[np.ix_(top, left)]
    )
    area = np.outer(bottom - top, right - left)
    y, x = np.nonzero((inside >= _MIN_TISSUE_SHARE * area) & (area > 0))
    return Cells(rows, columns, x.astype(np.int64) * patch_px, y.astype(np.int64) * patch_px)


def _parts(length: int, parts: int) -> tuple[NDArray[np.int64], int]:
    """Return where each part begins, and how long it is, in pixels of the mask."""
    # Halves are rounded up, as C++ does.
    starts = np.floor(length * (np.arange(parts) / parts) + 0.5).astype(np.int64)
    return starts, math.floor(length / parts + 0.5)

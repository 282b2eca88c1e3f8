"""What goes into a network with its preprocessing and what comes out, in every stored form."""

from pathlib import Path

import numpy as np

from lamella.datasets.settings import TargetKind
from lamella.stores.atomic import replacing

INPUT_NAME = "patches"
"""``(n, patch_px, patch_px, 3)`` uint8, RGB, as it lies in the shards."""

OUTPUT_NAMES = {
    TargetKind.CLASSES: "probabilities",
    TargetKind.MULTI_LABEL: "probabilities",
    TargetKind.REGRESSION: "values",
}
"""``(n, outputs)`` float32: of each class or label, or of each column of the slide table."""

MODEL_TYPES = {
    TargetKind.CLASSES: "classifier",
    TargetKind.MULTI_LABEL: "classifier",
    TargetKind.REGRESSION: "regressor",
}
"""MLflow's word for what a network does."""

EXAMPLE_NAME = "input_example.npy"
"""File with an input example."""


def write_example(path: Path, patch_px: int) -> None:
    """Write one drawn patch, ``(1, patch_px, patch_px, 3)`` uint8: the input example of a model.

    Args:
        path: The ``.npy`` file.
        patch_px: Edge length of the patch.
    """
    y, x = np.mgrid[:patch_px, :patch_px] * 255 // max(patch_px - 1, 1)
    with replacing(path) as temporary:
        np.save(temporary, np.stack([x, y, 255 - x], axis=-1)[None].astype(np.uint8))

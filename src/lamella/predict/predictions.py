"""The HDF5 file of one slide's predictions: every name in it, written and read.

=================  ========================  ==============================================
``x``, ``y``       (n,) int64                corner in level-0 pixels of the full canvas
``probabilities``  (n, classes) float32      in the order of the attribute ``classes``
=================  ========================  ==============================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lamella.errors import StoreError
from lamella.predict.heatmap import heatmap_fingerprint, read_heatmap_fingerprint
from lamella.stores.atomic import replacing
from lamella.stores.shards import read_stored
from lamella.stores.stored import Stored

LAYOUT = "lamella predictions 1"
"""Value of the root attribute ``layout``."""


@dataclass(frozen=True)
class Predictions:
    """What a network says about the patches of a slide.

    Attributes:
        x: ``(n,)`` left borders in level-0 pixels.
        y: ``(n,)`` top borders in level-0 pixels.
        probabilities: ``(n, classes)``.
        classes: Names of the columns of ``probabilities``.
        edge_l0: Edge length of a patch in level-0 pixels.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    edge_l0: float

    def of(self, name: str) -> NDArray[np.float32]:
        """Return the probability of one class, ``(n,)``."""
        return self.probabilities[:, self.classes.index(name)]


def write_predictions(path: Path, predictions: Predictions, attributes: Mapping[str, Any]) -> None:
    """Write a slide's predictions in one step.

    Args:
        path: The final path.
        predictions: One entry per patch.
        attributes: Root attributes beyond those that the predictions and the layout give.
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        scale = file.create_dataset("patch_id", data=np.arange(len(predictions.x)))
        scale.make_scale("patch_id")
        for name in ("x", "y", "probabilities"):
            dataset = file.create_dataset(name, data=getattr(predictions, name))
            dataset.dims[0].attach_scale(scale)
        file.attrs.update(
            {
                "layout": LAYOUT,
                "n": len(predictions.x),
                "complete": True,
                "classes": list(predictions.classes),
                "edge_l0": predictions.edge_l0,
                **attributes,
            }
        )


def read_predictions(path: Path) -> Predictions:
    """Return the predictions of a slide.

    Raises:
        StoreError: the file is missing, damaged or of another layout.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["layout"] != LAYOUT:
                raise KeyError(LAYOUT)
            return Predictions(
                x=file["x"][:],
                y=file["y"][:],
                probabilities=file["probabilities"][:],
                classes=tuple(str(name) for name in file.attrs["classes"]),
                edge_l0=float(file.attrs["edge_l0"]),
            )
    except (OSError, KeyError) as error:
        raise StoreError(
            f"the predictions cannot be read ({error})",
            str(path),
            "Delete the file and run `snakemake predict` again; only this slide is made anew",
        ) from error


def heatmap_path(predictions: Path) -> Path:
    """Return where the heatmap of a predictions file lies."""
    return predictions.parent.parent / "heatmaps" / f"{predictions.stem}.png"


def read_stored_predictions(path: Path, *, target: str) -> Stored | None:
    """Return fingerprint and count; ``None`` unless a heatmap of just this file is there, too.

    Args:
        path: The predictions.
        target: Class that the heatmap shall show.
    """
    stored = read_stored(path)
    if stored is None:
        return None
    wanted = heatmap_fingerprint(stored.fingerprint, target=target)
    return stored if read_heatmap_fingerprint(heatmap_path(path)) == wanted else None

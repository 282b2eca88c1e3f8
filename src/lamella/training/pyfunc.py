"""``best.pt`` as MLflow loads it; named in every checkpoint that is logged (see ``tracked``)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.models.interface import INPUT_NAME, OUTPUT_NAMES
from lamella.models.networks import InferenceNetwork
from lamella.training.checkpoint import load_trained


class PatchClassifier:
    """A trained network that answers as its exported ONNX graph does.

    Args:
        network: From stored pixels to answers, in evaluation mode.
    """

    def __init__(self, network: InferenceNetwork) -> None:
        self._network = network

    def predict(
        self, named: dict[str, NDArray[np.uint8]], params: dict[str, Any] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Return the probability of every class or label, or the number of every column.

        Args:
            named: ``patches``: ``(n, patch_px, patch_px, 3)``, RGB.
            params: MLflow's parameters of a prediction; there are none.

        Returns:
            ``probabilities`` or ``values``: ``(n, outputs)``.
        """
        patches = torch.from_numpy(np.ascontiguousarray(named[INPUT_NAME]))
        with torch.inference_mode():
            return {OUTPUT_NAMES[self._network.activation.kind]: self._network(patches).numpy()}


def _load_pyfunc(path: str) -> PatchClassifier:
    """Return the network of a ``best.pt``; MLflow calls this, and no pickled code is read."""
    return PatchClassifier(load_trained(Path(path)).inference())

"""A U-Net that is built again in Keras."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lamella.export.description import ModelInterface, TensorDescription
from lamella.export.saved_model import write_unet_saved_model
from lamella.models.segmentation import SegmentationNetwork
from lamella.models.settle import settle
from lamella.models.unet import UNet

_ANSWER = """
import sys
import numpy as np
import tensorflow as tf

images, saved, answers = sys.argv[1:]
serve = tf.saved_model.load(saved).signatures["serving_default"]
np.save(answers, serve(images=tf.constant(np.load(images)))["probabilities"].numpy())
"""


def _answers_of_tensorflow(saved: Path, images: np.ndarray) -> np.ndarray:
    """TensorFlow alone in a process, without Lamella."""
    given, found = saved.with_name("images.npy"), saved.with_name("answers.npy")
    np.save(given, images)
    # Other tests have chosen a backend for Keras, which comes with TensorFlow.
    alone = {name: text for name, text in os.environ.items() if name != "KERAS_BACKEND"}
    subprocess.run([sys.executable, "-c", _ANSWER, given, saved, found], check=True, env=alone)
    return np.load(found)


@pytest.mark.parametrize(
    ("lengths", "dtype", "low", "high"),
    [((8, 20), "uint8", 0.0, 255.0), ((4, 8, 12), "int16", -1200.0, 400.0)],
)
def test_tensorflow_answers_a_u_net_as_torch_does(
    tmp_path: Path, lengths: tuple[int, ...], dtype: str, low: float, high: float
) -> None:
    torch.manual_seed(3)
    # No two lengths and no two widths are alike, so that nothing swapped would fit.
    unet = UNet(len(lengths), channels=1, classes=3, widths=(4, 6, 10))
    network = SegmentationNetwork(unet, low=low, high=high)
    # Beyond both limits, where the type has room for it.
    span = (0, 256) if dtype == "uint8" else (-2000, 1000)
    images = np.random.default_rng(3).integers(*span, size=(3, *lengths)).astype(dtype)
    settle(unet, network.scaled(torch.from_numpy(images)))
    interface = ModelInterface(
        inputs=(TensorDescription(name="images", dtype=dtype, shape=(-1, *lengths), layout=""),),
        outputs=(
            TensorDescription(
                name="probabilities", dtype="float32", shape=(-1, *lengths, 3), layout=""
            ),
        ),
    )

    write_unet_saved_model(tmp_path / "saved_model", network, interface)
    found = _answers_of_tensorflow(tmp_path / "saved_model", images)

    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    assert found.shape == (3, *lengths, 3)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)

"""A U-Net of torch as TensorFlow's SavedModel, built again in Keras.

onnx2tf 2.x does not translate transposed convolutions for batches of any length. Keras has one
backend a process, which is torch where networks are exported. So this is run in a process of its
own: ``python -m lamella.export.unet_saved_model weights.npz interface.json folder``.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from lamella.export.description import ModelInterface
from lamella.models.keras_library import KerasBackend, load_keras, load_tensorflow
from lamella.models.keras_unet import build_keras_unet
from lamella.stores.json_files import read_json


def main(weights: Path, interface: Path, folder: Path) -> None:
    """Write the SavedModel of a ``SegmentationNetwork``: the signature ``serving_default``.

    Args:
        weights: Those of its U-Net by name, and ``limits``: the values that become 0 and 1.
        interface: Its input and output.
        folder: Gets the SavedModel.
    """
    tf = load_tensorflow()
    keras = load_keras(KerasBackend.TENSORFLOW)
    described = ModelInterface.model_validate(read_json(interface))
    (given,), (answer,) = described.inputs, described.outputs
    with np.load(weights) as stored:
        arrays = dict(stored)
    low, high = map(float, arrays.pop("limits"))
    model = build_keras_unet(keras, arrays)
    taken = tf.TensorSpec([None, *given.shape[1:]], given.dtype, name=given.name)

    @tf.function(input_signature=[taken])  # type: ignore[untyped-decorator]
    def serve(images: Any) -> dict[str, Any]:
        scaled = (tf.cast(images, tf.float32) - low) / (high - low)
        logits = model(tf.clip_by_value(scaled, 0.0, 1.0)[..., None], training=False)
        return {answer.name: tf.nn.softmax(logits)}

    served = tf.Module()
    served.serve = serve
    served.kept = [variable.value for variable in model.weights]
    tf.saved_model.save(served, str(folder), signatures={"serving_default": serve})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

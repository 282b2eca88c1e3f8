"""Translate an ONNX model into TensorFlow's SavedModel.

Run by the Python of onnx2tf's own environment (``scripts/onnx2tf.sh``), which has neither Lamella
nor its libraries: ``python onnx_to_saved_model.py model.onnx folder``.
"""

import sys
from typing import Any

import numpy as np
import onnx2tf
import onnxruntime
import tensorflow as tf

_ROWS = 2


def main(model: str, folder: str) -> None:
    """Write the SavedModel: the signature ``serving_default``, with the names of the ONNX model.

    Args:
        model: The ONNX file; axis 0 of inputs and outputs is free.
        folder: Gets the SavedModel.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()]
    translated = onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path=folder,
        # Else it takes every input of four axes for NCHW.
        keep_shape_absolutely_input_names=inputs,
        not_use_onnxsim=True,
        # Written below: with it onnx2tf writes TensorFlow Lite, too, which takes most of its time.
        disable_model_save=True,
        non_verbose=True,
    )
    orders = axis_orders(translated, session)
    taken = [
        tf.TensorSpec([None, *given.shape[1:]], given.dtype, name=given.name)
        for given in translated.inputs
    ]

    @tf.function(input_signature=taken)  # type: ignore[untyped-decorator]
    def serve(*given: tf.Tensor) -> dict[str, tf.Tensor]:
        found = answers(translated, list(given))
        return {
            name: tf.transpose(output, order)
            for name, output, order in zip(outputs, found, orders, strict=True)
        }

    served = tf.Module()
    served.serve = serve
    # The variables alone: with the network of Keras, its weights would be written as text, too.
    served.kept = list(translated.variables)
    tf.saved_model.save(served, folder, signatures={"serving_default": serve})


def answers(translated: Any, given: list[Any]) -> list[Any]:
    """Return the outputs of onnx2tf's network, also where it has one alone."""
    found = translated(given, training=False)
    return list(found) if isinstance(found, list | tuple) else [found]


def axis_orders(translated: Any, session: onnxruntime.InferenceSession) -> list[list[int]]:
    """Return in which order the axes of each output are those of the ONNX model.

    onnx2tf puts the channels of images last, and does not say of which outputs. Both models are
    asked about the same random inputs.
    """
    generator = np.random.default_rng(0)
    given = [random_input(each, generator) for each in translated.inputs]
    names = [each.name for each in translated.inputs]
    expected = session.run(None, dict(zip(names, given, strict=True)))
    found = [output.numpy() for output in answers(translated, [tf.constant(x) for x in given])]
    return [best_order(*pair) for pair in zip(found, expected, strict=True)]


def random_input(given: Any, generator: np.random.Generator) -> np.ndarray:
    """Return a batch for an input of onnx2tf's network."""
    shape = [_ROWS, *given.shape[1:]]
    return (generator.random(shape) * (255 if given.dtype.is_integer else 1)).astype(
        given.dtype.as_numpy_dtype
    )


def best_order(found: np.ndarray, expected: np.ndarray) -> list[int]:
    """Return the order of axes, as they are or channels to the front, that is nearer to another."""
    kept = list(range(found.ndim))
    to_front = [0, found.ndim - 1, *kept[1:-1]] if found.ndim > 2 else kept
    fitting = [
        order for order in (kept, to_front) if found.transpose(order).shape == expected.shape
    ]
    return min(fitting, key=lambda order: np.abs(found.transpose(order) - expected).max())


if __name__ == "__main__":
    main(*sys.argv[1:])

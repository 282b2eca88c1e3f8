"""Translate an ONNX model into TensorFlow's SavedModel.

Run by the Python of onnx2tf's own environment (``scripts/onnx2tf.sh``), which has neither Lamella
nor its libraries: ``python onnx_to_saved_model.py model.onnx folder input output``.
"""

import sys

import onnx2tf
import tensorflow as tf


def main(model: str, folder: str, input_name: str, output_name: str) -> None:
    """Write the SavedModel: the signature ``serving_default``, with the names of the ONNX model.

    Args:
        model: The ONNX file: one input, one output, axis 0 free.
        folder: Gets the SavedModel.
        input_name: Name of the input.
        output_name: Name of the output.
    """
    translated = onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path=folder,
        # Else it takes every input of four axes for NCHW.
        keep_shape_absolutely_input_names=[input_name],
        not_use_onnxsim=True,
        # Written below: with it onnx2tf writes TensorFlow Lite, too, which takes most of its time.
        disable_model_save=True,
        non_verbose=True,
    )
    given = translated.inputs[0]
    taken = tf.TensorSpec([None, *given.shape[1:]], given.dtype, name=input_name)

    @tf.function(input_signature=[taken])  # type: ignore[untyped-decorator]
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name: translated(images, training=False)}

    served = tf.Module()
    served.serve = serve
    # The variables alone: with the network of Keras, its weights would be written as text, too.
    served.kept = list(translated.variables)
    tf.saved_model.save(served, folder, signatures={"serving_default": serve})


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A network that TensorFlow has trained as TensorFlow's SavedModel.

Keras has one backend a process, which is torch where networks are exported. So this is run in a
process of its own: ``python -m lamella.export.keras_saved_model metrics.json folder``.
"""

import sys
from pathlib import Path
from typing import Any

from lamella.datasets.settings import TargetKind
from lamella.models.interface import INPUT_NAME, OUTPUT_NAMES
from lamella.models.keras_library import KerasBackend, load_keras, load_tensorflow
from lamella.models.keras_networks import build_keras_network, stored_variables
from lamella.training.checkpoint import TrainedModel, load_trained


def main(metrics: Path, folder: Path) -> None:
    """Write the SavedModel of a training: the signature ``serving_default``.

    Args:
        metrics: ``metrics.json`` of the training.
        folder: Gets the SavedModel.
    """
    tf = load_tensorflow()
    keras = load_keras(KerasBackend.TENSORFLOW)
    trained = load_trained(metrics)
    network = build_keras_network(keras, trained.run.model, len(trained.classes), trained.run.head)
    for path, variable in stored_variables(network).items():
        variable.assign(trained.weights[path].numpy())
    edge = trained.patch_px
    taken = tf.TensorSpec([None, edge, edge, 3], tf.uint8, name=INPUT_NAME)

    @tf.function(input_signature=[taken])  # type: ignore[untyped-decorator]
    def serve(patches: Any) -> dict[str, Any]:
        scaled = tf.cast(patches, tf.float32) / 255.0
        images = (scaled - trained.mean) / trained.standard_deviation
        logits = network.model(images, training=False)
        return {OUTPUT_NAMES[trained.kind]: _activated(tf, logits, trained)}

    served = tf.Module()
    served.serve = serve
    served.kept = [variable.value for variable in network.model.weights]
    tf.saved_model.save(served, str(folder), signatures={"serving_default": serve})


def _activated(tf: Any, logits: Any, trained: TrainedModel) -> Any:
    """Return answers: ``lamella.models.activation``, computed by TensorFlow."""
    match trained.kind:
        case TargetKind.CLASSES:
            return tf.nn.softmax(logits)
        case TargetKind.MULTI_LABEL:
            return tf.nn.sigmoid(logits)
        case TargetKind.REGRESSION:
            assert trained.scale is not None
            means, deviations = trained.scale.means, trained.scale.deviations
            return means.astype("float32") + deviations.astype("float32") * logits


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

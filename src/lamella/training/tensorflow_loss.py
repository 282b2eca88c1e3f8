"""What is learned from, in TensorFlow; ``lamella.datasets.targets`` says which loss it is."""

from typing import Any

from lamella.datasets.settings import TargetKind
from lamella.models.keras_library import load_tensorflow

tf = load_tensorflow()


def sum_of_losses(outputs: Any, targets: Any, kind: TargetKind) -> Any:
    """Return the sum of the samples' losses.

    Args:
        outputs: ``(n, outputs)``, of the last layer: logits, or standardised numbers.
        targets: ``(n,)`` classes, or ``(n, k)`` labels or standardised numbers, NaN where unknown.
        kind: Which of them.
    """
    if kind is TargetKind.CLASSES:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
        return tf.reduce_sum(losses)
    known = tf.logical_not(tf.math.is_nan(targets))
    # What is unknown must not reach the loss: the gradient of a NaN is one, also times 0.
    filled = tf.cast(tf.where(known, targets, tf.zeros_like(targets)), outputs.dtype)
    each = (
        tf.nn.sigmoid_cross_entropy_with_logits(filled, outputs)
        if kind is TargetKind.MULTI_LABEL
        else tf.math.squared_difference(outputs, filled)
    )
    return tf.reduce_sum(tf.where(known, each, tf.zeros_like(each))) / targets.shape[1]

"""Where a rank that trains by TensorFlow computes, and in which numbers."""

from typing import Any

from lamella.models.keras_library import (
    KerasBackend,
    load_keras,
    load_tensorflow,
    set_up_tensorflow,
)
from lamella.settings import Device
from lamella.training.settings import RunSettings

tf = load_tensorflow()


def prepare_tensorflow(run: RunSettings, device: Device, *, gpu: int) -> Any:
    """Set TensorFlow up for a rank, before its first operation, and return the module ``keras``.

    Operations that vary from run to run are refused.

    Args:
        run: Number of threads.
        device: The processor, or a GPU.
        gpu: Which one of this node, where it is a GPU.
    """
    set_up_tensorflow(tf, threads=run.threads, device=device, gpu=gpu)
    tf.config.experimental.enable_op_determinism()
    return load_keras(KerasBackend.TENSORFLOW)

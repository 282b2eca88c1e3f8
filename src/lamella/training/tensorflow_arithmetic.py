"""Where a rank that trains by TensorFlow computes, and in which numbers."""

from typing import Any

from lamella.models.keras_library import KerasBackend, load_keras, load_tensorflow
from lamella.settings import Device
from lamella.training.settings import RunSettings

tf = load_tensorflow()

_INTER_OP_THREADS = 1
"""Operations that run beside each other: they would share the threads of one."""


def prepare_tensorflow(run: RunSettings, device: Device, *, gpu: int) -> Any:
    """Set TensorFlow up for a rank, before its first operation, and return the module ``keras``.

    Operations that vary from run to run are refused. ``float32`` means it on a GPU too: TensorFlow
    would round to the 10 bits of TF32 there.

    Args:
        run: Number of threads.
        device: The processor, or a GPU.
        gpu: Which one of this node, where it is a GPU.
    """
    config = tf.config
    config.threading.set_intra_op_parallelism_threads(run.threads)
    config.threading.set_inter_op_parallelism_threads(_INTER_OP_THREADS)
    gpus = config.list_physical_devices("GPU")
    mine = [gpus[gpu]] if device is Device.CUDA else []
    # A GPU that was not asked for would be taken unasked.
    config.set_visible_devices(mine, "GPU")
    for each in mine:
        config.experimental.set_memory_growth(each, enable=True)
    config.experimental.enable_op_determinism()
    config.experimental.enable_tensor_float_32_execution(enabled=False)
    return load_keras(KerasBackend.TENSORFLOW)

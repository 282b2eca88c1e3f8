"""TensorFlow, and Keras under the one backend that this process has chosen for it.

A network of Keras learns under TensorFlow; exported, judged by engines and explained it is computed
by torch, from the same definition. Keras takes its backend when it is first imported: a process has
one.
"""

import os
from enum import StrEnum
from importlib import import_module
from typing import Any

from lamella.settings import Device


class KerasBackend(StrEnum):
    """What computes a network of Keras; the value is Keras' own name of it."""

    TENSORFLOW = "tensorflow"
    TORCH = "torch"


_INTER_OP_THREADS = 1
"""Operations that run beside each other: they would share the threads of one."""


def load_tensorflow(keras: KerasBackend = KerasBackend.TENSORFLOW, *, torch: bool = True) -> Any:
    """Return the module ``tensorflow``.

    Args:
        keras: What computes the networks of Keras, which is loaded with it.
        torch: Whether this process uses torch. Then torch's compiler is loaded before TensorFlow:
            loaded after it, it crashes the process (torch 2.13 and TensorFlow 2.21).
    """
    # A backend that the user's shell names would count.
    os.environ["KERAS_BACKEND"] = keras
    # TensorFlow tells of its processor and of absent GPUs; what goes wrong is raised nevertheless.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if torch:
        import_module("torch._dynamo")
    return import_module("tensorflow")


def set_up_tensorflow(tf: Any, *, threads: int, device: Device, gpu: int = 0) -> None:
    """Set where TensorFlow computes in this process, and by how many threads.

    ``float32`` means it on a GPU too: TensorFlow would round to the 10 bits of TF32 there.

    Args:
        tf: The module ``tensorflow``.
        threads: Threads of an operation.
        device: The processor, or a GPU.
        gpu: Which one of this node, where it is a GPU.

    Raises:
        RuntimeError: it has computed by others already.
    """
    config = tf.config
    config.threading.set_intra_op_parallelism_threads(threads)
    config.threading.set_inter_op_parallelism_threads(_INTER_OP_THREADS)
    gpus = config.list_physical_devices("GPU")
    mine = [gpus[gpu]] if device is Device.CUDA else []
    # A GPU that was not asked for would be taken unasked.
    config.set_visible_devices(mine, "GPU")
    for each in mine:
        config.experimental.set_memory_growth(each, enable=True)
    config.experimental.enable_tensor_float_32_execution(enabled=False)


def load_keras(backend: KerasBackend) -> Any:
    """Return the module ``keras``, which computes by a backend from now on.

    Raises:
        RuntimeError: this process has taken the other one.
    """
    os.environ["KERAS_BACKEND"] = backend
    # Where torch sees a GPU, Keras would put all networks there unasked.
    os.environ["KERAS_TORCH_DEVICE"] = "cpu"
    import keras

    if keras.config.backend() != backend:
        raise RuntimeError(f"Keras computes by {keras.config.backend()} here, not by {backend}")
    return keras

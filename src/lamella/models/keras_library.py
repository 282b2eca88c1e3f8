"""TensorFlow, and Keras under the one backend that this process has chosen for it.

A network of Keras learns under TensorFlow; exported, judged by engines and explained it is computed
by torch, from the same definition. Keras takes its backend when it is first imported: a process has
one.
"""

import os
from enum import StrEnum
from importlib import import_module
from typing import Any


class KerasBackend(StrEnum):
    """What computes a network of Keras; the value is Keras' own name of it."""

    TENSORFLOW = "tensorflow"
    TORCH = "torch"


def load_tensorflow() -> Any:
    """Return the module ``tensorflow``.

    Torch's compiler is loaded before it: loaded after it, it crashes the process (torch 2.13 and
    TensorFlow 2.21).
    """
    # Keras is loaded with it, and a backend that the user's shell names would count.
    os.environ["KERAS_BACKEND"] = KerasBackend.TENSORFLOW
    # TensorFlow tells of its processor and of absent GPUs; what goes wrong is raised nevertheless.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import_module("torch._dynamo")
    return import_module("tensorflow")


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

"""TensorFlow runs a SavedModel; the one module that runs it."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from lamella.engines.engine import Arrays, CheckedEngine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device


def _load_tensorflow() -> Any:
    # TensorFlow tells of its processor and of absent GPUs; what goes wrong is raised nevertheless.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "torch" in sys.modules:
        # Loaded after TensorFlow it crashes the process (torch 2.13 and TensorFlow 2.21). Keras,
        # which TensorFlow loads, computes by torch where Lamella exports and compares.
        import_module("torch._dynamo")
        os.environ.setdefault("KERAS_BACKEND", "torch")
    return import_module("tensorflow")


tf = _load_tensorflow()

_INTER_OP_THREADS = 1
"""Operations that run beside each other: they would share the threads of one."""

_SIGNATURE = "serving_default"


class TensorFlowEngine(CheckedEngine):
    """A SavedModel, in 32-bit arithmetic.

    Number of threads and devices are TensorFlow's own, for the whole process, and stay as they
    were when it first computed.
    """

    name = EngineName.TENSORFLOW
    load_errors = (OSError, RuntimeError, ValueError, KeyError, tf.errors.OpError)

    def _load(self, path: Path) -> None:
        _set_up(self.device, self.threads)
        with tf.device(_device_name(self.device)):
            # Kept, for its signature does not keep it.
            self._loaded = tf.saved_model.load(str(path))
        self._signature = self._loaded.signatures[_SIGNATURE]

    def _run(self, inputs: Arrays) -> Arrays:
        with tf.device(_device_name(self.device)):
            feed = {
                each.name: tf.constant(given)
                for each, given in zip(self.interface.inputs, inputs, strict=True)
            }
            found = self._signature(**feed)
        return tuple(found[each.name].numpy() for each in self.interface.outputs)

    @classmethod
    def detect(cls, path: Path) -> ModelInterface:
        """Return what the signature ``serving_default`` says; see ``CheckedEngine``."""
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures[_SIGNATURE]
        _, given = signature.structured_input_signature
        return ModelInterface(
            inputs=tuple(_tensor(name, given[name]) for name in sorted(given)),
            outputs=tuple(
                _tensor(name, output)
                for name, output in sorted(signature.structured_outputs.items())
            ),
        )

    @classmethod
    def version(cls, device: Device) -> str:
        """Return TensorFlow's version; see ``CheckedEngine``."""
        if device is Device.CUDA and not tf.config.list_physical_devices("GPU"):
            raise EngineUnavailableError(
                "TensorFlow sees no GPU",
                f"{cls.name} on {device}",
                "Choose the device `cpu`, or run on a node with an NVIDIA GPU",
            )
        return str(tf.__version__)


def _tensor(name: str, spec: Any) -> TensorDescription:
    return TensorDescription(
        name=name,
        dtype=spec.dtype.name,
        shape=tuple(-1 if length is None else length for length in spec.shape),
        layout="",
    )


def _device_name(device: Device) -> str:
    return "/GPU:0" if device is Device.CUDA else "/CPU:0"


def _set_up(device: Device, threads: int) -> None:
    """Set threads and devices, which TensorFlow allows only before it computes.

    Raises:
        EngineUnavailableError: it has computed with others.
    """
    config = tf.config
    config.experimental.enable_tensor_float_32_execution(enabled=False)
    try:
        config.threading.set_intra_op_parallelism_threads(threads)
        config.threading.set_inter_op_parallelism_threads(_INTER_OP_THREADS)
        gpus = config.list_physical_devices("GPU")
        # A GPU that was not asked for would be taken unasked.
        config.set_visible_devices(gpus if device is Device.CUDA else [], "GPU")
        for gpu in gpus if device is Device.CUDA else []:
            config.experimental.set_memory_growth(gpu, enable=True)
    except RuntimeError as error:
        now = config.threading.get_intra_op_parallelism_threads()
        raise EngineUnavailableError(
            f"TensorFlow has computed in this process before, with {now} threads ({error})",
            f"{EngineName.TENSORFLOW} on {device} with {threads} threads",
            "Load it in another process",
        ) from error

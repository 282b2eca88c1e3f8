"""TensorFlow runs a SavedModel; the one module that runs it."""

import sys
from pathlib import Path
from typing import Any

from lamella.engines.engine import Arrays, CheckedEngine, gpu_lacks
from lamella.engines.gpu import first_gpu
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.models.keras_library import KerasBackend, load_tensorflow, set_up_tensorflow
from lamella.settings import Device

# Where Lamella exports and compares, torch is here, and computes networks of Keras; else it would
# only take memory and time, which are measured.
tf = load_tensorflow(KerasBackend.TORCH) if "torch" in sys.modules else load_tensorflow(torch=False)

_SIGNATURE = "serving_default"


class TensorFlowEngine(CheckedEngine):
    """A SavedModel, in the types that it was saved with.

    Number of threads and devices are TensorFlow's own, for the whole process, and stay as they
    were when it first computed. So is the arithmetic on a GPU, which is set at every call.
    """

    name = EngineName.TENSORFLOW
    load_errors = (OSError, RuntimeError, ValueError, KeyError, IndexError, tf.errors.OpError)
    run_errors = (RuntimeError, tf.errors.OpError)

    def _load(self, path: Path) -> None:
        try:
            set_up_tensorflow(tf, threads=self.threads, device=self.device)
        except RuntimeError as error:
            now = tf.config.threading.get_intra_op_parallelism_threads()
            raise EngineUnavailableError(
                f"TensorFlow has computed in this process before, with {now} threads ({error})",
                f"{self.name} on {self.device} with {self.threads} threads",
                "Load it in another process",
            ) from error
        with tf.device(_device_name(self.device)):
            # Kept, for its signature does not keep it.
            self._loaded = tf.saved_model.load(str(path))
        signatures = self._loaded.signatures
        if _SIGNATURE not in signatures:
            raise StoreError(
                f"it has no signature {_SIGNATURE}, but {', '.join(signatures) or 'none'}",
                str(path),
                f"Save the model with a signature {_SIGNATURE}",
            )
        self._signature = signatures[_SIGNATURE]

    def _run(self, inputs: Arrays) -> Arrays:
        tf.config.experimental.enable_tensor_float_32_execution(self.precision is Precision.TF32)
        with tf.device(_device_name(self.device)):
            feed = {
                each.name: tf.constant(given)
                for each, given in zip(self.interface.inputs, inputs, strict=True)
            }
            found = self._signature(**feed)
        return tuple(found[each.name].numpy() for each in self.interface.outputs)

    def _detect(self, path: Path) -> ModelInterface:
        _, given = self._signature.structured_input_signature
        found = self._signature.structured_outputs
        return ModelInterface(
            inputs=tuple(_tensor(name, given[name]) for name in sorted(given)),
            outputs=tuple(_tensor(name, found[name]) for name in sorted(found)),
        )

    @classmethod
    def version(cls, device: Device) -> str:
        """Return TensorFlow's version; see ``CheckedEngine``."""
        if device is Device.CUDA and not tf.config.list_physical_devices("GPU"):
            raise EngineUnavailableError(
                _why_no_gpu(),
                f"{cls.name} on {device}",
                "Choose the device `cpu`, or run on a node with an NVIDIA GPU",
            )
        return str(tf.__version__)

    @classmethod
    def lacks(cls, precision: Precision, device: Device) -> str:
        """Return what it does not compute in; see ``CheckedEngine``."""
        if precision is not Precision.TF32:
            return "TensorFlow computes in the 32 bits that the SavedModel was saved with"
        gpu, *_ = tf.config.list_physical_devices("GPU")
        capability = tf.config.experimental.get_device_details(gpu)["compute_capability"]
        return gpu_lacks(precision, capability)


def _tensor(name: str, spec: Any) -> TensorDescription:
    lengths = () if spec.shape.rank is None else spec.shape
    return TensorDescription(
        name=name,
        dtype=spec.dtype.name,
        shape=tuple(-1 if length is None else length for length in lengths),
        layout="",
    )


def _why_no_gpu() -> str:
    # TensorFlow itself says it in many lines on stderr, if at all.
    try:
        gpu = first_gpu()
    except RuntimeError as error:
        return f"TensorFlow cannot use a GPU ({error})"
    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    wanted = f"it looks for the libraries of CUDA {cuda}" if cuda else "this build has no CUDA"
    return f"TensorFlow does not see the {gpu.name}; {wanted}"


def _device_name(device: Device) -> str:
    return "/GPU:0" if device is Device.CUDA else "/CPU:0"

"""ONNX Runtime with each of its providers; the one module that talks to it."""

import ctypes
from pathlib import Path
from typing import Any, ClassVar

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from lamella.engines.engine import Arrays, CheckedEngine, gpu_lacks
from lamella.engines.gpu import first_gpu
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device

_ERRORS_ONLY = 3

_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_LIBRARIES = {
    _CUDA: "libonnxruntime_providers_cuda.so",
    _TENSORRT: "libonnxruntime_providers_tensorrt.so",
}
"""What the linker must find beside ONNX Runtime for a provider."""


class OnnxRuntimeEngine(CheckedEngine):
    """An ``.onnx`` model."""

    name = EngineName.ONNXRUNTIME
    load_errors = (
        *(faults.EPFail, faults.Fail, faults.InvalidArgument, faults.InvalidGraph),
        *(faults.InvalidProtobuf, faults.NotImplemented, faults.RuntimeException),
        *(RuntimeError, ValueError),
    )
    run_errors = load_errors
    # On GPUs, ONNX Runtime computes with 10 bits of mantissa (TF32) unless told otherwise.
    providers: ClassVar[dict[Device, tuple[str, dict[str, str]]]] = {
        Device.CPU: ("CPUExecutionProvider", {}),
        Device.CUDA: (_CUDA, {"use_tf32": "0"}),
    }
    """What computes on each device, and its options in f32."""

    options: ClassVar[dict[tuple[Device, Precision], dict[str, str]]] = {
        (Device.CUDA, Precision.TF32): {"use_tf32": "1"}
    }
    """What else is computed in, and the options that differ then."""

    threads_option: ClassVar[str] = ""
    """Option of a provider that has threads of its own; the others take the session's."""

    def _load(self, path: Path) -> None:
        provider, usual = self.providers[self.device]
        options = usual | self.options.get((self.device, self.precision), {})
        if self.threads_option:
            options[self.threads_option] = str(self.threads)
        # By itself it says on stdout that it failed, and goes on with another provider.
        self._session = onnxruntime.InferenceSession(
            path,
            _options(self.threads),
            providers=[provider],
            provider_options=[options],
            enable_fallback=0,
        )
        # ONNX Runtime takes the CPU in silence where a provider does not start.
        if self._session.get_providers()[0] != provider:
            taken = self._session.get_providers()[0]
            raise _unavailable(self.name, self.device, f"it runs on {taken} instead")

    def _run(self, inputs: Arrays) -> Arrays:
        names = [each.name for each in self.interface.inputs]
        wanted = [each.name for each in self.interface.outputs]
        return tuple(self._session.run(wanted, dict(zip(names, inputs, strict=True))))

    def _detect(self, path: Path) -> ModelInterface:
        return ModelInterface(
            inputs=tuple(_tensor(each) for each in self._session.get_inputs()),
            outputs=tuple(_tensor(each) for each in self._session.get_outputs()),
        )

    @classmethod
    def version(cls, device: Device) -> str:
        """Return ONNX Runtime's version; see ``CheckedEngine``."""
        if device not in cls.providers:
            raise _unavailable(cls.name, device, "its provider does not compute there")
        provider, _ = cls.providers[device]
        if provider not in onnxruntime.get_available_providers():
            raise _unavailable(cls.name, device, f"this build has no {provider}")
        if provider in _LIBRARIES:
            _check_libraries(cls.name, device, _LIBRARIES[provider])
            _check_gpu(cls.name, device)
        return str(onnxruntime.__version__)

    @classmethod
    def lacks(cls, precision: Precision, device: Device) -> str:
        """Return what its provider does not compute in; see ``CheckedEngine``."""
        if (device, precision) in cls.options:
            return gpu_lacks(precision, first_gpu().capability)
        also = "".join(f" and {other}" for on, other in cls.options if on is device) or " alone"
        return f"ONNX Runtime computes in f32{also} by {cls.providers[device][0]}"


class OnnxRuntimeOpenVinoEngine(OnnxRuntimeEngine):
    """ONNX Runtime that hands the model to OpenVINO: the build ``onnxruntime-openvino``."""

    name = EngineName.ONNXRUNTIME_OPENVINO
    # Without it OpenVINO computes in bfloat16 where the CPU can.
    providers: ClassVar = {
        Device.CPU: ("OpenVINOExecutionProvider", {"device_type": "CPU", "precision": "FP32"})
    }
    options: ClassVar = {}
    threads_option = "num_of_threads"


class OnnxRuntimeTensorRtEngine(OnnxRuntimeEngine):
    """ONNX Runtime that hands the model to TensorRT."""

    name = EngineName.ONNXRUNTIME_TENSORRT
    providers: ClassVar = {Device.CUDA: (_TENSORRT, {"trt_fp16_enable": "0"})}
    options: ClassVar = {(Device.CUDA, Precision.F16): {"trt_fp16_enable": "1"}}


def _tensor(node: Any) -> TensorDescription:
    """Return what a session says of an input or output, whose type it calls ``tensor(float)``."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    return TensorDescription(
        name=node.name,
        dtype={"float": "float32", "double": "float64"}.get(kind, kind),
        shape=tuple(length if isinstance(length, int) else -1 for length in node.shape),
        layout="",
    )


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    return options


def _check_libraries(name: EngineName, device: Device, library: str) -> None:
    # Those that were installed as Python packages lie where the linker does not look.
    onnxruntime.preload_dlls(msvc=False)
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        # A provider whose libraries are missing is dropped without an error: ask the linker.
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"))
        ctypes.CDLL(str(folder / library))
    except OSError as error:
        raise _unavailable(name, device, str(error)) from error


def _check_gpu(name: EngineName, device: Device) -> None:
    # A driver may be there without any GPU, on the node or for the job.
    try:
        first_gpu()
    except RuntimeError as error:
        raise _unavailable(name, device, str(error)) from error


def _unavailable(name: EngineName, device: Device, why: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"ONNX Runtime cannot use the device ({why})",
        f"{name} on {device}",
        "Choose another engine or device, or run on a node with an NVIDIA GPU and its libraries",
    )

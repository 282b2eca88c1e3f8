"""ONNX Runtime; the one module that talks to it."""

import ctypes
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from lamella.engines.engine import CheckedEngine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelDescription
from lamella.settings import Device

LOAD_ERRORS = (
    *(faults.EPFail, faults.Fail, faults.InvalidArgument, faults.InvalidGraph),
    *(faults.InvalidProtobuf, faults.NotImplemented, faults.RuntimeException),
)
"""What ONNX Runtime raises where it cannot load a model."""

_PROVIDERS = {Device.CPU: "CPUExecutionProvider", Device.CUDA: "CUDAExecutionProvider"}
# On GPUs, ONNX Runtime computes with 10 bits of mantissa (TF32) unless told otherwise.
_PROVIDER_OPTIONS: dict[Device, dict[str, str]] = {Device.CPU: {}, Device.CUDA: {"use_tf32": "0"}}
_ERRORS_ONLY = 3


class OnnxRuntimeEngine(CheckedEngine):
    """An ``.onnx`` model, in 32-bit arithmetic."""

    name = EngineName.ONNXRUNTIME

    def __init__(
        self, path: Path, description: ModelDescription, *, device: Device, threads: int
    ) -> None:
        super().__init__(description, device=device, threads=threads)
        self._session = onnxruntime.InferenceSession(
            path,
            _options(threads),
            providers=[_PROVIDERS[device]],
            provider_options=[_PROVIDER_OPTIONS[device]],
        )
        _check_provider(self._session, device)

    def _run(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        feed = {self.description.inputs[0].name: patches}
        answer: NDArray[np.float32] = self._session.run(None, feed)[0]
        return answer


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    return options


def _check_provider(session: onnxruntime.InferenceSession, device: Device) -> None:
    """ONNX Runtime takes the CPU in silence where a provider does not start."""
    if session.get_providers()[0] != _PROVIDERS[device]:
        raise _unavailable(device, f"it runs on {session.get_providers()[0]} instead")


def version(device: Device) -> str:
    """Return ONNX Runtime's version.

    Raises:
        EngineUnavailableError: it was built without the device, or a library of it is missing.
    """
    if _PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise _unavailable(device, "this build has no provider for it")
    if device is Device.CUDA:
        _check_cuda_libraries()
    return str(onnxruntime.__version__)


def _check_cuda_libraries() -> None:
    # Those that were installed as Python packages lie where the linker does not look.
    onnxruntime.preload_dlls(msvc=False)
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        # A provider whose libraries are missing is dropped without an error: ask the linker.
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"))
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        raise _unavailable(Device.CUDA, str(error)) from error


def _unavailable(device: Device, why: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"ONNX Runtime cannot use the device ({why})",
        f"{EngineName.ONNXRUNTIME} on {device}",
        "Choose the device `cpu`, or run on a node with an NVIDIA GPU and its CUDA libraries",
    )

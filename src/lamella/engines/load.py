"""Load an exported model into an engine."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from lamella.engines.engine import Engine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelFormat, open_model
from lamella.settings import Device

FORMATS = {
    EngineName.TORCH: ModelFormat.TORCH,
    EngineName.ONNXRUNTIME: ModelFormat.ONNX,
    EngineName.OPENVINO: ModelFormat.ONNX,
}
"""What each engine reads."""

_CLASSES = {
    EngineName.TORCH: "TorchEngine",
    EngineName.ONNXRUNTIME: "OnnxRuntimeEngine",
    EngineName.OPENVINO: "OpenVinoEngine",
}


def load_engine(
    name: EngineName, export_folder: Path, *, device: Device = Device.CPU, threads: int
) -> Engine:
    """Load a run's exported model into the named engine.

    Args:
        name: The engine; its library is imported only now.
        export_folder: Such as ``results/export/{run}``, with a folder for each format.
        device: Where the model shall run.
        threads: Threads that the engine computes with, at least 1.

    Raises:
        EngineUnavailableError: the library is not installed here, has no such device, or cannot
            load the model. There is no fallback: a benchmark must not time another device than it
            reports.
        StoreError: the model is missing or damaged.
    """
    engine_version(name, device)
    path, description = open_model(export_folder / FORMATS[name])
    module = _module(name)
    try:
        engine: Engine = getattr(module, _CLASSES[name])(
            path, description, device=device, threads=threads
        )
    except module.LOAD_ERRORS as error:
        raise EngineUnavailableError(
            f"it cannot load the model ({_first_line(error)})",
            f"{name} on {device}",
            "Choose another engine, or another version of its library",
        ) from error
    return engine


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def engine_version(name: EngineName, device: Device) -> str:
    """Return the version of an engine's library.

    Raises:
        EngineUnavailableError: the library cannot be imported or cannot use the device.
    """
    version: str = _module(name).version(device)
    return version


def _module(name: EngineName) -> ModuleType:
    try:
        return import_module(f"lamella.engines.{name}_engine")
    except ImportError as error:
        raise EngineUnavailableError(
            f"its library cannot be imported ({error})",
            str(name),
            "Run `make setup`, or choose another engine",
        ) from error

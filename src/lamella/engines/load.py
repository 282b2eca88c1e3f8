"""Load an exported model into an engine."""

import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypedDict
from zipfile import BadZipFile, ZipFile, is_zipfile

from lamella.engines.engine import CheckedEngine, Engine, first_line
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelFormat, ModelInterface, open_model
from lamella.settings import Device


@dataclass(frozen=True)
class _Place:
    """Where an engine's class is, and what the engine reads."""

    module: str
    class_name: str
    reads: ModelFormat


_PLACES = {
    EngineName.TORCH: _Place("torch_engine", "TorchEngine", ModelFormat.TORCH),
    EngineName.TORCH_COMPILED: _Place("torch_engine", "CompiledTorchEngine", ModelFormat.TORCH),
    EngineName.TORCHSCRIPT: _Place(
        "torchscript_engine", "TorchScriptEngine", ModelFormat.TORCHSCRIPT
    ),
    EngineName.TENSORFLOW: _Place("tensorflow_engine", "TensorFlowEngine", ModelFormat.TENSORFLOW),
    EngineName.ONNXRUNTIME: _Place("onnxruntime_engine", "OnnxRuntimeEngine", ModelFormat.ONNX),
    EngineName.ONNXRUNTIME_OPENVINO: _Place(
        "onnxruntime_engine", "OnnxRuntimeOpenVinoEngine", ModelFormat.ONNX
    ),
    EngineName.ONNXRUNTIME_TENSORRT: _Place(
        "onnxruntime_engine", "OnnxRuntimeTensorRtEngine", ModelFormat.ONNX
    ),
    EngineName.OPENVINO: _Place("openvino_engine", "OpenVinoEngine", ModelFormat.OPENVINO),
    EngineName.TENSORRT: _Place("tensorrt_engine", "TensorRtEngine", ModelFormat.ONNX),
    EngineName.TENSORRT_RTX: _Place("tensorrt_rtx_engine", "TensorRtRtxEngine", ModelFormat.ONNX),
}

FORMATS = {name: place.reads for name, place in _PLACES.items()}
"""What each engine reads."""


def formats_read(engines: Iterable[EngineName]) -> tuple[ModelFormat, ...]:
    """Return the formats that engines read, with those that every export has, in their order."""
    wanted = {ModelFormat.ONNX, ModelFormat.TORCH} | {FORMATS[name] for name in engines}
    return tuple(each for each in ModelFormat if each in wanted)


def load_engine(
    name: EngineName,
    export_folder: Path,
    *,
    device: Device = Device.CPU,
    precision: Precision = Precision.F32,
    threads: int,
    batch_sizes: Sequence[int] = (1,),
) -> Engine:
    """Load a run's exported model into the named engine.

    Args:
        name: The engine; its library is imported only now.
        export_folder: Such as ``results/export/{run}``, with a folder for each format.
        device: Where the model shall run.
        precision: Arithmetic that it computes in.
        threads: Threads that the engine computes with, at least 1.
        batch_sizes: Rows that it will be asked for most; any other number is answered, too.
            TensorRT is tuned for these alone, and answers longer batches in parts.

    Raises:
        EngineUnavailableError: the library is not installed here, has no such device or precision,
            or cannot load the model. There is no fallback: a benchmark must not time another device
            or arithmetic than it reports.
        StoreError: the model is missing or damaged.
    """
    engine = _engine_for(name, device, precision)
    path, description = open_model(export_folder / FORMATS[name])
    options = _Options(device=device, precision=precision, threads=threads, batch_sizes=batch_sizes)
    return _loaded(engine, path, description, options)


def load_foreign_engine(
    name: EngineName,
    path: Path,
    *,
    interface: ModelInterface | None = None,
    checked: bool = False,
    device: Device = Device.CPU,
    precision: Precision = Precision.F32,
    threads: int,
    batch_sizes: Sequence[int] = (1,),
) -> CheckedEngine:
    """Load a model that Lamella has not exported; it has no ``description``.

    A model of fixed batches is asked in as many of them as it takes.

    Args:
        name: The engine.
        path: A file or folder in a format that the engine's library reads.
        interface: The model's inputs and outputs; absent: what the file says of them.
        checked: Whether the caller knows that the file is not damaged; else its own checksums are
            looked at, which takes time.
        device: Where the model shall run.
        precision: Arithmetic that it computes in.
        threads: Threads that the engine computes with, at least 1.
        batch_sizes: As ``load_engine``.

    Raises:
        EngineUnavailableError: as ``load_engine``.
        StoreError: the file is missing or damaged, does not say what the inputs and outputs are, or
            has others than those that are given.
    """
    engine = _engine_for(name, device, precision)
    if not checked:
        _check_file(path)
    options = _Options(device=device, precision=precision, threads=threads, batch_sizes=batch_sizes)
    return _loaded(engine, path, interface, options)


def _check_file(path: Path) -> None:
    """Refuse a file that is missing, or whose own checksums are wrong.

    Raises:
        StoreError: it is one of them.
    """
    if not path.exists():
        raise StoreError("there is no such model", str(path), "Correct the path")
    if not is_zipfile(path):
        return
    # torch does not look at the checksums: flipped bits would be taken for weights.
    try:
        with ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, RuntimeError, BadZipFile, zlib.error) as error:
        broken = first_line(error)
    if broken is not None:
        raise StoreError(f"the model is damaged ({broken})", str(path), "Copy it again")


class _Options(TypedDict):
    """How an engine shall compute."""

    device: Device
    precision: Precision
    threads: int
    batch_sizes: Sequence[int]


def _loaded(
    engine: type[CheckedEngine], path: Path, interface: ModelInterface | None, options: _Options
) -> CheckedEngine:
    """Load a model, and tell in Lamella's words why a library cannot."""
    try:
        return engine(path, interface, **options)
    except engine.load_errors as error:
        raise EngineUnavailableError(
            f"it cannot load the model ({first_line(error)})",
            f"{path} in {engine.name} on {options['device']}",
            "Choose another engine or version of its library, or look whether the file is whole",
        ) from error


def engine_version(name: EngineName, device: Device) -> str:
    """Return the version of an engine's library.

    Raises:
        EngineUnavailableError: the library cannot be imported or cannot use the device.
    """
    return _engine_class(name).version(device)


def engine_precisions(name: EngineName, device: Device) -> tuple[Precision, ...]:
    """Return what an engine computes in on a device.

    Raises:
        EngineUnavailableError: the library cannot be imported or cannot use the device.
    """
    engine = _engine_for(name, device, Precision.F32)
    return tuple(each for each in Precision if not _lacking(engine, each, device))


def _engine_for(name: EngineName, device: Device, precision: Precision) -> type[CheckedEngine]:
    """Return the class of an engine that has a device and a precision."""
    engine = _engine_class(name)
    engine.version(device)
    reason = _lacking(engine, precision, device)
    if reason:
        raise EngineUnavailableError(
            reason,
            f"{name} on {device} in {precision}",
            "Choose another precision, engine or device; `lamella engines` lists what there is",
        )
    return engine


def _lacking(engine: type[CheckedEngine], precision: Precision, device: Device) -> str:
    if precision is Precision.F32:
        return ""
    if precision is Precision.TF32 and device is Device.CPU:
        return "tf32 is arithmetic of NVIDIA GPUs"
    return engine.lacks(precision, device)


def _engine_class(name: EngineName) -> type[CheckedEngine]:
    place = _PLACES[name]
    # It would end the process by SIGSEGV (torch 2.13 and TensorFlow 2.21).
    loaded_late = "tensorflow" in sys.modules and "torch._dynamo" not in sys.modules
    if place.reads in {ModelFormat.TORCH, ModelFormat.TORCHSCRIPT} and loaded_late:
        raise EngineUnavailableError(
            "torch crashes where TensorFlow was loaded before it",
            str(name),
            "Load this engine before that of TensorFlow, or in another process",
        )
    try:
        module = import_module(f"lamella.engines.{place.module}")
    except ImportError as error:
        raise EngineUnavailableError(
            f"its library cannot be imported ({error})",
            str(name),
            "Run `make setup`, install what it leaves out (docs/engines.md), or take another",
        ) from error
    engine: type[CheckedEngine] = getattr(module, place.class_name)
    return engine

"""One program in several formats."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from torch.export import ExportedProgram

from lamella.errors import UnwritableFormatError
from lamella.export.description import MODEL_FILES, ModelFormat
from lamella.export.onnx_file import write_onnx
from lamella.export.openvino_ir import write_openvino
from lamella.export.program import write_program
from lamella.export.saved_model import onnx2tf_python, write_saved_model
from lamella.export.torchscript import write_torchscript

_log = logging.getLogger(__name__)


def write_formats(
    folder: Path,
    program: ExportedProgram,
    formats: Sequence[ModelFormat],
    *,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
    onnx2tf: Sequence[Path] = (),
    saved_model: Callable[[Path], None] | None = None,
) -> dict[ModelFormat, str]:
    """Write a program as ONNX and in other formats.

    One that does not have what the network does, or whose translator is not here, does not take
    the others with it, but for ONNX and torch.export's.

    Args:
        folder: Gets a folder for each format, such as ``onnx/model.onnx``.
        program: The exported program; axis 0 of inputs and outputs is free.
        formats: What is written beside ONNX.
        opset: ONNX operator set.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        onnx2tf: The file that names the Python of onnx2tf's environment, where it makes the
            SavedModel; else nothing.
        saved_model: Writes the SavedModel, where onnx2tf does not.

    Returns:
        Why a format could not be written; nothing is left of it.

    Raises:
        ExportError: ONNX or torch.export's format cannot be written; or another one, which may
            go well the next time.
    """
    paths = {stored: folder / stored / MODEL_FILES[stored] for stored in ModelFormat}
    # First, for others are made of it.
    onnx_file = paths[ModelFormat.ONNX]
    write_onnx(onnx_file, program, opset=opset, inputs=inputs, outputs=outputs)
    writers: dict[ModelFormat, Callable[[Path], None]] = {
        ModelFormat.ONNX: lambda _: None,
        ModelFormat.TORCH: lambda path: write_program(path, program),
        ModelFormat.TORCHSCRIPT: lambda path: write_torchscript(path, program),
        ModelFormat.OPENVINO: lambda path: write_openvino(path, onnx_file),
        ModelFormat.TENSORFLOW: saved_model
        or (lambda path: write_saved_model(path, onnx_file, python=onnx2tf_python(*onnx2tf))),
    }
    failures: dict[ModelFormat, str] = {}
    for stored in formats:
        try:
            writers[stored](paths[stored])
        except UnwritableFormatError as error:
            # What an earlier export has left would be another network.
            shutil.rmtree(paths[stored].parent, ignore_errors=True)
            failures[stored] = error.what
            _log.warning("not written for %s: %s", stored, error)
    return failures

"""One program in several formats."""

from collections.abc import Sequence
from pathlib import Path

from torch.export import ExportedProgram

from lamella.export.description import MODEL_FILES, ModelFormat
from lamella.export.onnx_file import write_onnx
from lamella.export.openvino_ir import write_openvino
from lamella.export.program import write_program
from lamella.export.saved_model import write_saved_model
from lamella.export.torchscript import write_torchscript


def write_formats(
    folder: Path,
    program: ExportedProgram,
    formats: Sequence[ModelFormat],
    *,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
    onnx2tf: Sequence[Path] = (),
) -> None:
    """Write a program as ONNX and in other formats.

    Args:
        folder: Gets a folder for each format, such as ``onnx/model.onnx``.
        program: The exported program; axis 0 of inputs and outputs is free.
        formats: What is written beside ONNX.
        opset: ONNX operator set.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        onnx2tf: The file that names the Python of onnx2tf's environment, where a SavedModel is
            written; else nothing.

    Raises:
        ExportError: a format cannot be written.
    """
    paths = {stored: folder / stored / MODEL_FILES[stored] for stored in ModelFormat}
    # First, for others are made of it.
    onnx_file = paths[ModelFormat.ONNX]
    write_onnx(onnx_file, program, opset=opset, inputs=inputs, outputs=outputs)
    for stored in formats:
        match stored:
            case ModelFormat.ONNX:
                pass
            case ModelFormat.TORCH:
                write_program(paths[stored], program)
            case ModelFormat.TORCHSCRIPT:
                write_torchscript(paths[stored], program)
            case ModelFormat.OPENVINO:
                write_openvino(paths[stored], onnx_file)
            case ModelFormat.TENSORFLOW:
                python = Path(onnx2tf[0].read_text(encoding="utf-8").strip())
                write_saved_model(paths[stored], onnx_file, python=python)

"""A network as one ONNX file; the one module that knows torch's ONNX exporter."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from google.protobuf.message import EncodeError
from torch.export import ExportedProgram

from lamella.errors import ExportError
from lamella.stores.atomic import replacing

_FREE_AXIS = "batch"


def write_onnx(
    path: Path,
    program: ExportedProgram,
    *,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """Write a program as a checked ONNX file.

    Weights are inside the file. Equal weights give equal bytes: the exporter's notes on source
    lines, which hold the paths of the machine, are left out.

    Args:
        path: The final path; it appears only when the file has passed ONNX's checker.
        program: The exported program; axis 0 of inputs and outputs is free.
        opset: ONNX operator set.
        inputs: Names that the inputs get.
        outputs: Names that the outputs get.

    Raises:
        ExportError: the exporter cannot translate the network, or the checker refuses the result.
    """
    model = _translated(program, path, opset, inputs, outputs)
    _strip_notes(model)
    _name_free_axis(model)
    with replacing(path) as temporary:
        temporary.write_bytes(_packed(model, path))
        _check(temporary, path)


def _translated(
    program: ExportedProgram,
    path: Path,
    opset: int,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    for chatty in ("onnx_ir", "onnxscript"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # torch 2.13 copies its own deprecated class while it exports.
        warnings.filterwarnings("ignore", message=r".*LeafSpec", category=FutureWarning)
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                external_data=False,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(
                f"the network cannot be written as ONNX ({error})",
                str(path),
                "Choose another `model` for the run or another `export.opset`",
            ) from error
    assert exported is not None, "it is None only with dynamo=False"
    return exported.model_proto


def _packed(model: onnx.ModelProto, path: Path) -> bytes:
    try:
        packed: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise ExportError(
            "the network is larger than 2 GB, which is all that one ONNX file holds",
            str(path),
            "Choose a smaller `model` for the run",
        ) from error
    return packed


def _strip_notes(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


def _name_free_axis(model: onnx.ModelProto) -> None:
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for length in value.type.tensor_type.shape.dim:
            if length.dim_param == symbol:
                length.dim_param = _FREE_AXIS


def _check(written: Path, path: Path) -> None:
    try:
        onnx.checker.check_model(str(written), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"ONNX's checker refuses the exported graph ({error})",
            str(path),
            "Choose another `model` for the run or another `export.opset`",
        ) from error

"""A network as OpenVINO's intermediate representation; the one module that writes it."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openvino
from openvino import frontend

from lamella.errors import UnwritableFormatError
from lamella.stores.atomic import replacing

_FAULTS = (
    *(RuntimeError, frontend.GeneralFailure, frontend.InitializationFailure),
    *(frontend.NotImplementedFailure, frontend.OpConversionFailure, frontend.OpValidationFailure),
)


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Let the root logger be what it was: OpenVINO leaves it to errors alone where it fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def write_openvino(path: Path, onnx_file: Path) -> None:
    """Write an ONNX model as ``model.xml`` with its weights in ``model.bin``.

    The weights keep their 32 bits: OpenVINO by itself halves them.

    Args:
        path: The final ``.xml``; the weights appear beside it before it does.
        onnx_file: The model.

    Raises:
        UnwritableFormatError: OpenVINO cannot translate it.
    """
    try:
        with _root_logger_kept():
            model = openvino.convert_model(str(onnx_file))
    except _FAULTS as error:
        # What precedes it are places in OpenVINO's own source, and headings.
        reason = str(error).strip().rpartition("\n")[2]
        raise UnwritableFormatError(
            f"the network cannot be written for OpenVINO ({reason})",
            str(path),
            "Take `openvino` out of `parity.engines` and `benchmark.engines`, or choose another"
            " `model`",
        ) from error
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / path.name
        openvino.save_model(model, str(written), compress_to_fp16=False)
        for part in (written.with_suffix(".bin"), written):
            with replacing(path.with_suffix(part.suffix)) as temporary:
                shutil.copyfile(part, temporary)

"""A network as TensorFlow's SavedModel."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lamella.errors import ExportError

_PROGRAM = Path(__file__).with_name("onnx_to_saved_model.py")


def write_saved_model(path: Path, onnx_file: Path, *, python: Path) -> None:
    """Translate an ONNX model, in a process of its own.

    Args:
        path: The final folder; one that is there is replaced.
        onnx_file: The model; axis 0 of inputs and outputs is free.
        python: Python of the environment that ``scripts/onnx2tf.sh`` makes.

    Raises:
        ExportError: the environment is not there, or onnx2tf cannot translate the model.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        written = Path(scratch) / path.name
        # A copy, for onnx2tf writes what it makes of the names into the file that it is given.
        given = shutil.copyfile(onnx_file, Path(scratch) / onnx_file.name)
        command = [python, _PROGRAM, given, written]
        _run([str(part) for part in command], onnx_file)
        shutil.rmtree(path, ignore_errors=True)
        written.rename(path)


def _run(command: list[str], onnx_file: Path) -> None:
    # A GPU would do nothing but be taken.
    quiet = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    quiet.pop("PYTHONPATH", None)
    try:
        ended = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
    except OSError as error:
        raise ExportError(
            f"onnx2tf's environment cannot be used ({error})",
            command[0],
            "Run scripts/onnx2tf.sh where there is internet",
        ) from error
    if ended.returncode != 0:
        last = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
        raise ExportError(
            f"onnx2tf cannot translate the model ({last or f'exit code {ended.returncode}'})",
            str(onnx_file),
            "Take `tensorflow` out of `parity.engines`, or choose another `model` for the run",
        )

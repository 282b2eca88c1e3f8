"""A network as TensorFlow's SavedModel, written by a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamella.errors import ExportError, UnwritableFormatError
from lamella.export.description import ModelInterface
from lamella.models.segmentation import SegmentationNetwork
from lamella.stores.json_files import write_json

_PROGRAM = Path(__file__).with_name("onnx_to_saved_model.py")
_KERAS_PROGRAM = "lamella.export.keras_saved_model"
_UNET_PROGRAM = "lamella.export.unet_saved_model"


def write_saved_model(path: Path, onnx_file: Path, *, python: Path) -> None:
    """Translate an ONNX model.

    Args:
        path: The final folder; one that is there is replaced.
        onnx_file: The model; axis 0 of inputs and outputs is free.
        python: Python of the environment that ``scripts/onnx2tf.sh`` makes.

    Raises:
        ExportError: the environment is not there, or onnx2tf cannot translate the model.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        # A copy, for onnx2tf writes what it makes of the names into the file that it is given.
        given = shutil.copyfile(onnx_file, Path(scratch) / onnx_file.name)
        # It has packages of its own.
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        _write([str(python), str(_PROGRAM), str(given)], path, Path(scratch), environment)


def onnx2tf_python(named: Path) -> Path:
    """Return the Python of onnx2tf's environment.

    Args:
        named: The file that names it; empty where the environment could not be made.

    Raises:
        UnwritableFormatError: it could not be made.
    """
    python = named.read_text(encoding="utf-8").strip()
    if not python:
        raise UnwritableFormatError(
            "onnx2tf's environment could not be made: see results/logs/prepare_onnx2tf.log, and"
            f" delete {named} to try again",
            str(named),
            "Run scripts/onnx2tf.sh where there is internet, delete this file and run again",
        )
    return Path(python)


def write_keras_saved_model(path: Path, metrics: Path) -> None:
    """Write a network that TensorFlow has trained.

    Args:
        path: The final folder; one that is there is replaced.
        metrics: ``metrics.json`` of the training.

    Raises:
        ExportError: TensorFlow cannot write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        command = [sys.executable, "-m", _KERAS_PROGRAM, str(metrics)]
        _write(command, path, Path(scratch), dict(os.environ))


def write_unet_saved_model(
    path: Path, network: SegmentationNetwork, interface: ModelInterface
) -> None:
    """Write a U-Net of torch, built again in Keras.

    Args:
        path: The final folder; one that is there is replaced.
        network: From stored grey values to probabilities, around a ``UNet``.
        interface: Its input and output; axis 0 is free, the input's other lengths are fixed.

    Raises:
        ExportError: TensorFlow cannot write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        weights, described = Path(scratch) / "weights.npz", Path(scratch) / "interface.json"
        arrays = {name: each.numpy() for name, each in network.network.state_dict().items()}
        np.savez(weights, limits=[network.low, network.high], **arrays)
        write_json(described, interface.model_dump(mode="json"))
        command = [sys.executable, "-m", _UNET_PROGRAM, str(weights), str(described)]
        _write(command, path, Path(scratch), dict(os.environ))


def _write(command: Sequence[str], path: Path, scratch: Path, environment: dict[str, str]) -> None:
    """Run a program that writes the folder that is its last argument, and put that in its place."""
    written = scratch / path.name
    # A GPU would do nothing but be taken.
    quiet = {**environment, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        ended = subprocess.run(
            [*command, str(written)], capture_output=True, text=True, env=quiet, check=False
        )
    except OSError as error:
        raise ExportError(
            f"onnx2tf's environment cannot be used ({error})",
            command[0],
            "Run scripts/onnx2tf.sh where there is internet",
        ) from error
    if ended.returncode < 0:
        raise ExportError(
            f"the program that writes the SavedModel was ended by signal {-ended.returncode}",
            str(path),
            "Run it again, with more memory where that was short",
        )
    if ended.returncode > 0:
        last = (ended.stderr.strip() or ended.stdout.strip()).rpartition("\n")[2]
        raise UnwritableFormatError(
            "the network cannot be written as a SavedModel"
            f" ({last or f'exit code {ended.returncode}'})",
            str(path),
            "Take `tensorflow` out of `parity.engines` and `benchmark.engines`; of a run, you can"
            " choose another `model`",
        )
    shutil.rmtree(path, ignore_errors=True)
    written.rename(path)

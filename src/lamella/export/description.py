"""What lies beside every exported model: ``model.json``."""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lamella.datasets.settings import TargetKind
from lamella.errors import EngineUnavailableError, StoreError
from lamella.stores.json_files import write_json

DESCRIPTION_NAME = "model.json"
"""Name of the description, in the folder of the model file."""


class ModelFormat(StrEnum):
    """How a model is stored; also the name of its folder."""

    ONNX = "onnx"
    TORCH = "torch"
    TORCHSCRIPT = "torchscript"
    OPENVINO = "openvino"
    TENSORFLOW = "tensorflow"


MODEL_FILES = {
    ModelFormat.ONNX: "model.onnx",
    ModelFormat.TORCH: "model.pt2",
    ModelFormat.TORCHSCRIPT: "model.ts",
    ModelFormat.OPENVINO: "model.xml",
    ModelFormat.TENSORFLOW: "saved_model",
}
"""What a program opens: a file, of TensorFlow's SavedModel a folder."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TensorDescription(_Value):
    """One input or output of the graph."""

    name: str
    """Name in the graph."""
    dtype: str
    """numpy's name of the type, such as ``uint8``."""
    shape: tuple[int, ...]
    """Length of every axis; -1 for a free one."""
    layout: str
    """A letter an axis: N patch, H row, W column, C channel or class; empty where not known."""


class ModelInterface(_Value):
    """What goes into a model and what comes out."""

    inputs: tuple[TensorDescription, ...]
    """Inputs of the graph; of an exported model, scaling and normalisation are inside it."""
    outputs: tuple[TensorDescription, ...]
    """Outputs of the graph; of an exported model, softmax, sigmoid or the units of the numbers are
    inside it."""


class Origin(_Value):
    """The training that a model comes from."""

    run: str
    """Name of the run."""
    seed: int
    """Seed of the repetition that was chosen."""
    metrics: str
    """Path of its ``metrics.json``, relative to the folder of ``model.json``."""
    metric: str
    """Validation figure by which the seed was chosen."""
    value: float | None
    """That figure; absent where it could not be measured."""
    index_digest: str
    """Digest of the patches it was trained on."""


class ModelDescription(ModelInterface):
    """Everything a program needs to run a model, and everything a person asks about it."""

    format: ModelFormat
    """How the model is stored."""
    file: str
    """What a program opens, beside this description: a file, or a folder of files."""
    files: tuple[str, ...] = ()
    """Where the model is more than one file: all of them, beside this description, sorted."""
    digest: str
    """SHA-256 of the model file, hexadecimal; of several files, of their digests and names; empty
    where it could not be written."""
    failure: str = ""
    """Why the network could not be written in this format, of which there is no file then; else
    empty."""
    opset: int | None
    """ONNX operator set; absent for other formats."""
    kind: TargetKind = TargetKind.CLASSES
    """What the output is: probabilities of classes or labels, or numbers."""
    classes: tuple[str, ...]
    """Names of the classes, labels or numbers, in the order of the output's columns."""
    means: tuple[float, ...] = ()
    """Of numbers, mean of each in the training patches; else empty."""
    deviations: tuple[float, ...] = ()
    """Of numbers, standard deviation of each in the training patches; else empty."""
    patch_px: int
    """Edge length of a patch in pixels."""
    mpp: float
    """Microns per pixel of a patch."""
    origin: Origin
    """Where the weights come from."""
    lamella_version: str
    """Version of Lamella that exported it."""
    torch_version: str
    """Version of torch that exported it."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_files(folder: Path, stored: ModelFormat) -> tuple[str, ...]:
    """Return the files that a model in a format consists of, sorted, relative to the folder."""
    path = folder / MODEL_FILES[stored]
    match stored:
        case ModelFormat.TENSORFLOW:
            found = sorted(file for file in path.rglob("*") if file.is_file())
        case ModelFormat.OPENVINO:
            found = [path.with_suffix(".bin"), path]
        case _:
            found = [path]
    return tuple(str(file.relative_to(folder)) for file in found)


def model_digest(folder: Path, files: Sequence[str]) -> str:
    """Return the digest of a model.

    Args:
        folder: Where its files are.
        files: Their names, relative to the folder.

    Returns:
        The SHA-256 of a single file; of several, that of the lines ``digest  name``, as the
        program sha256sum prints them.

    Raises:
        OSError: a file is missing.
    """
    if len(files) == 1:
        return file_digest(folder / files[0])
    lines = "".join(f"{file_digest(folder / name)}  {name}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def write_description(folder: Path, description: ModelDescription) -> None:
    """Write ``model.json`` in one step."""
    write_json(folder / DESCRIPTION_NAME, description.model_dump(mode="json"))


def read_description(folder: Path) -> ModelDescription:
    """Return the description in a folder such as ``results/export/{run}/onnx``.

    Raises:
        StoreError: it is missing or not a description.
    """
    path = folder / DESCRIPTION_NAME
    try:
        return ModelDescription.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"the description of the model cannot be read ({error})", str(path), _EXPORT_AGAIN
        ) from error


def open_model(folder: Path) -> tuple[Path, ModelDescription]:
    """Return what a program opens of a folder's model, checked, and its description.

    Raises:
        EngineUnavailableError: the network could not be written in this format.
        StoreError: description or model is missing, or the model is not the described one.
    """
    description = read_description(folder)
    path = folder / description.file
    if description.failure:
        raise EngineUnavailableError(description.failure, str(path), "Choose another engine")
    try:
        digest = model_digest(folder, description.files or (description.file,))
    except OSError as error:
        missing = str(error.filename)
        raise StoreError("the model file is missing", missing, _EXPORT_AGAIN) from error
    if digest != description.digest:
        raise StoreError(
            "the model file is damaged or not the one that was described",
            str(path),
            _EXPORT_AGAIN,
        )
    return path, description


_EXPORT_AGAIN = "Delete the folder and run `snakemake export` again"

"""What one job wants to have tracked, written beside its results before anything is sent."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lamella.errors import TrackingError
from lamella.stores.json_files import digest, read_json, write_json

RECORD_NAME = "record.json"
"""Name of the file that holds a record; one record per folder."""


def now_ms() -> int:
    """Return the time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class RunStatus(StrEnum):
    """How a job or a workflow run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"


class _Value(BaseModel):
    """A part of a record: closed, and read back exactly as it was written."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )


class Metric(_Value):
    """One point of a curve, or a single figure."""

    key: str
    """Name; letters, digits and ``_ - . / blank``."""
    value: float
    """The figure; ``nan`` is allowed."""
    step: int = 0
    """Epoch, or 0 for a single figure."""
    timestamp_ms: int = Field(default_factory=now_ms)
    """When it was measured, milliseconds since 1970."""
    of_model: bool = False
    """Whether it says how good the record's model is, and belongs to that model, too."""
    dataset: str | None = None
    """Name of the record's dataset that it was measured on; absent when it is of none of them."""


class Dataset(_Value):
    """A dataset that went into the job."""

    name: str
    """Name as people know it, such as ``patches``."""
    digest: str
    """Our own digest of the content, hexadecimal."""
    source: str
    """Where the dataset lies."""
    context: str
    """What it was used for: ``training``, ``validation``, ``test``, ``inference`` …."""


class Tensor(_Value):
    """One input or output of a model."""

    name: str
    """Name as the model has it."""
    dtype: str
    """numpy's name of the type, such as ``uint8``."""
    shape: tuple[int, ...]
    """Length of every axis; -1 for a free one."""


class ModelArtifact(_Value):
    """A model that is logged; with an alias, it is registered, too, as ``{study}-{name}``."""

    path: str
    """The model's file, relative to the record."""
    loader: str | None = None
    """Module whose ``_load_pyfunc`` reads the file for MLflow; absent for an ONNX graph."""
    inputs: tuple[Tensor, ...]
    """What goes in."""
    outputs: tuple[Tensor, ...]
    """What comes out."""
    input_example: str | None = None
    """A ``.npy`` file for the first input, relative to the record."""
    name: str
    """Name within its study: that of the training run."""
    alias: str | None = None
    """Alias that this version gets, such as ``champion``; absent for a model not to register."""
    step: int = 0
    """Epoch that it is from, or 0."""
    params: dict[str, str] = Field(default_factory=dict)
    """Facts about the model: classes, patch size, microns per pixel …."""
    model_type: str = "classifier"
    """MLflow's word for what it does: ``classifier`` or ``regressor``."""


class Record(_Value):
    """Everything one job wants to have tracked.

    Equal content has an equal ``id``: a job that was killed after it had sent its record, and
    comes to the same result again, does not make a second run.
    """

    kind: str
    """What the job did: ``training``, ``export``, ``benchmark``, ``explanation`` …."""
    name: str
    """Name of the run as people read it, such as ``resnet50 seed 1``."""
    params: dict[str, str] = Field(default_factory=dict)
    """Settings and facts."""
    metrics: list[Metric] = Field(default_factory=list)
    """Curves and figures."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Further tags; those of ``lamella.tracking.provenance`` are added when it is written."""
    artifacts: list[str] = Field(default_factory=list)
    """Files and folders to attach, relative to the record."""
    datasets: list[Dataset] = Field(default_factory=list)
    """What went in."""
    model: ModelArtifact | None = None
    """The model that came out, if one is to be logged."""
    started_ms: int = Field(default_factory=now_ms)
    """When the job began, milliseconds since 1970."""
    ended_ms: int = Field(default_factory=now_ms)
    """When the job ended, milliseconds since 1970."""
    status: RunStatus = RunStatus.FINISHED
    """How it ended; only a workflow run has a record before its end."""
    experiment: str = ""
    """The study; filled in when the record is written."""
    parent: str | None = None
    """``id`` of the workflow run it belongs to; filled in when the record is written."""
    id: str = ""
    """Digest of the content; filled in when the record is written."""

    def add_metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Add several figures of one step, measured now."""
        time_ms = now_ms()
        self.metrics += [
            Metric(key=key, value=value, step=step, timestamp_ms=time_ms)
            for key, value in values.items()
        ]


def write_record(record: Record, folder: Path) -> None:
    """Write ``folder/record.json`` in one step."""
    write_json(folder / RECORD_NAME, record.model_dump(mode="json"))


def read_record(folder: Path) -> Record:
    """Return the record of a folder.

    Raises:
        TrackingError: the file is missing or not a record.
    """
    path = folder / RECORD_NAME
    try:
        return Record.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        raise TrackingError(
            f"is not a record of this version of Lamella ({str(error).splitlines()[0]})",
            str(path),
            "Remove the file, or run the job that wrote it again",
        ) from error


def identify(record: Record, folder: Path) -> str:
    """Return the digest of a record's content and of the files it names.

    Times, status, tags, experiment and parent do not count: they say where, when and within what
    the job ran, not what came of it.
    """
    where_and_when = {"started_ms", "ended_ms", "status", "tags", "experiment", "parent", "id"}
    content: dict[str, Any] = record.model_dump(mode="json", exclude=where_and_when)
    for metric in content["metrics"]:
        del metric["timestamp_ms"]
    content["files"] = {name: _digest_of(folder / name) for name in _names(record)}
    return digest(content)


def check_files(record: Record, folder: Path) -> None:
    """Check that the files a record names are there.

    Raises:
        TrackingError: one is absent.
    """
    for name in _names(record):
        if not (folder / name).exists():
            raise TrackingError(
                f"names {name}, which is absent",
                str(folder / RECORD_NAME),
                "Run the job that wrote the record again",
            )


def _names(record: Record) -> Iterator[str]:
    yield from record.artifacts
    if record.model is not None:
        yield record.model.path
        if record.model.input_example is not None:
            yield record.model.input_example


def _digest_of(path: Path) -> str:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        total.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()

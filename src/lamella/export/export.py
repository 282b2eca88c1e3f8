"""Export the best network of a run."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import lamella
from lamella.export.choose import Candidate, choose_seed
from lamella.export.description import (
    MODEL_FILES,
    ModelDescription,
    ModelFormat,
    Origin,
    TensorDescription,
    model_digest,
    model_files,
    write_description,
)
from lamella.export.formats import write_formats
from lamella.export.program import example_patches, trace_program
from lamella.export.saved_model import write_keras_saved_model
from lamella.export.settings import ExportSettings
from lamella.models.interface import (
    EXAMPLE_NAME,
    INPUT_NAME,
    MODEL_TYPES,
    OUTPUT_NAMES,
    write_example,
)
from lamella.tracking.record import Dataset, Metric, ModelArtifact, Record, Tensor, now_ms
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import TrainedModel, load_trained
from lamella.training.settings import Framework

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Chosen:
    """What is exported."""

    run: str
    candidate: Candidate
    trained: TrainedModel


def export_model(
    *,
    metrics: Sequence[Path],
    folder: Path,
    run: str,
    formats: Sequence[ModelFormat],
    settings: ExportSettings,
    tracking: TrackingSettings,
    onnx2tf: Sequence[Path] = (),
) -> None:
    """Write the best network of a run, as ONNX and in other formats.

    The graphs take patches as they lie in the shards, ``patches (n, patch_px, patch_px, 3)``
    uint8 RGB for any ``n``, and give ``probabilities (n, outputs)`` float32, or ``values`` where
    numbers were learned.

    Args:
        metrics: ``metrics.json`` of every seed of the run.
        folder: Gets a folder for each format, such as ``onnx/{model.onnx,model.json}``.
        run: Name of the run.
        formats: What is written; ONNX is among them.
        settings: Which seed, which ONNX operator set.
        tracking: Where the export is tracked; the ONNX file is registered as
            ``{study}-{run}``.
        onnx2tf: The file that names the Python of onnx2tf's environment, where a network of torch
            is written as a SavedModel; else nothing.

    Raises:
        ExportError: no seed can be chosen, or the network cannot be written as ONNX or by
            torch.export. Of another format ``model.json`` says why.
    """
    started_ms = now_ms()
    candidate = choose_seed(metrics, settings.metric)
    chosen = _Chosen(run, candidate, load_trained(candidate.metrics))
    described = _write_models(chosen, folder, formats, settings, onnx2tf)
    write_example(folder / ModelFormat.ONNX / EXAMPLE_NAME, chosen.trained.patch_px)
    record = _record(described, formats, settings, tracking)
    record.started_ms = started_ms
    track(record, folder, tracking)
    _log.info(
        "exported seed %d of %s (validation %s %s)",
        candidate.seed,
        run,
        candidate.metric,
        candidate.value,
    )


def _write_models(
    chosen: _Chosen,
    folder: Path,
    formats: Sequence[ModelFormat],
    settings: ExportSettings,
    onnx2tf: Sequence[Path],
) -> ModelDescription:
    """Write every format, and return the description of the ONNX model."""
    outputs = [OUTPUT_NAMES[chosen.trained.kind]]
    examples = (example_patches(chosen.trained.patch_px),)
    program = trace_program(chosen.trained.inference(), examples)
    saved_model = None
    if chosen.trained.run.framework is Framework.TENSORFLOW:
        saved_model = partial(write_keras_saved_model, metrics=chosen.candidate.metrics)
    failures = write_formats(
        folder,
        program,
        formats,
        opset=settings.opset,
        inputs=[INPUT_NAME],
        outputs=outputs,
        onnx2tf=onnx2tf,
        saved_model=saved_model,
    )
    described = {
        stored: _describe(chosen, folder, settings, stored, failures.get(stored, ""))
        for stored in formats
    }
    return described[ModelFormat.ONNX]


def _describe(
    chosen: _Chosen, folder: Path, settings: ExportSettings, stored: ModelFormat, failure: str
) -> ModelDescription:
    trained = chosen.trained
    edge, scale = trained.patch_px, trained.scale
    files = () if failure else model_files(folder / stored, stored)
    description = ModelDescription(
        format=stored,
        file=MODEL_FILES[stored],
        files=files if len(files) > 1 else (),
        digest="" if failure else model_digest(folder / stored, files),
        failure=failure,
        opset=settings.opset if stored is ModelFormat.ONNX else None,
        inputs=(_tensor(INPUT_NAME, "uint8", (-1, edge, edge, 3), "NHWC"),),
        outputs=(_output(trained),),
        kind=trained.kind,
        classes=tuple(trained.classes),
        means=tuple(scale.means.tolist()) if scale else (),
        deviations=tuple(scale.deviations.tolist()) if scale else (),
        patch_px=edge,
        mpp=trained.mpp,
        origin=_origin(chosen, folder / stored),
        lamella_version=lamella.__version__,
        torch_version=str(torch.__version__),
    )
    write_description(folder / stored, description)
    return description


def _output(trained: TrainedModel) -> TensorDescription:
    shape = (-1, len(trained.classes))
    return _tensor(OUTPUT_NAMES[trained.kind], "float32", shape, "NC")


def _tensor(name: str, dtype: str, shape: tuple[int, ...], layout: str) -> TensorDescription:
    return TensorDescription(name=name, dtype=dtype, shape=shape, layout=layout)


def _origin(chosen: _Chosen, folder: Path) -> Origin:
    candidate = chosen.candidate
    return Origin(
        run=chosen.run,
        seed=candidate.seed,
        # Relative, so that the results folder can be moved as a whole.
        metrics=os.path.relpath(candidate.metrics.resolve(), folder.resolve()),
        metric=candidate.metric,
        value=candidate.value,
        index_digest=candidate.index_digest,
    )


def _record(
    description: ModelDescription,
    formats: Sequence[ModelFormat],
    settings: ExportSettings,
    tracking: TrackingSettings,
) -> Record:
    origin = description.origin
    facts = {
        "run": origin.run,
        "seed": str(origin.seed),
        "classes": ", ".join(description.classes),
        "patch_px": str(description.patch_px),
        "mpp": str(description.mpp),
        "torch_version": description.torch_version,
    }
    record = Record(
        kind="export",
        name=f"export {origin.run}",
        params={**facts, "opset": str(settings.opset), "chosen_by": origin.metric},
        datasets=[
            Dataset(
                name="patches",
                digest=origin.index_digest,
                source="results/patches/index.parquet",
                context="training",
            )
        ],
        artifacts=[f"{stored}/model.json" for stored in formats]
        + [f"{ModelFormat.TORCH}/{MODEL_FILES[ModelFormat.TORCH]}"],
        model=ModelArtifact(
            path=f"{ModelFormat.ONNX}/{MODEL_FILES[ModelFormat.ONNX]}",
            inputs=tuple(_signature(each) for each in description.inputs),
            outputs=tuple(_signature(each) for each in description.outputs),
            input_example=f"{ModelFormat.ONNX}/{EXAMPLE_NAME}",
            name=origin.run,
            alias=tracking.alias,
            params=facts,
            model_type=MODEL_TYPES[description.kind],
        ),
    )
    if origin.value is not None:
        key = f"validation_{origin.metric}"
        record.metrics.append(Metric(key=key, value=origin.value, of_model=True))
    return record


def _signature(tensor: TensorDescription) -> Tensor:
    return Tensor(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)

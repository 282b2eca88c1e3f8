"""A model as MLflow keeps it."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

import lamella
from lamella.tracking.record import ModelArtifact, Tensor


def save_model(model: ModelArtifact, folder: Path, target: Path, about: Model) -> None:
    """Write the model such that MLflow loads it without pickle."""
    example = None
    if model.input_example is not None:
        example = {model.inputs[0].name: np.load(folder / model.input_example, allow_pickle=False)}
    described: dict[str, Any] = {
        "mlflow_model": about,
        "signature": ModelSignature(_schema(model.inputs), _schema(model.outputs)),
        "input_example": example,
    }
    file = folder / model.path
    with warnings.catch_warnings():
        # Raised by MLflow about a class of its own, which it loads on the first call.
        warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
        if model.loader is None:
            needed = [f"onnx=={onnx.__version__}", "onnxruntime"]
            mlflow.onnx.save_model(
                onnx.load(file), str(target), pip_requirements=needed, **described
            )
        else:
            mlflow.pyfunc.save_model(
                str(target),
                loader_module=model.loader,
                data_path=str(file),
                pip_requirements=[f"lamella=={lamella.__version__}"],
                **described,
            )


def _schema(tensors: Iterable[Tensor]) -> Schema:
    return Schema([TensorSpec(np.dtype(t.dtype), t.shape, t.name) for t in tensors])

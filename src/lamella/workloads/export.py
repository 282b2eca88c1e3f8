"""Write the network of a workload in the formats of the engines."""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.load import FORMATS
from lamella.engines.settings import EngineName
from lamella.errors import StoreError
from lamella.export.description import ModelFormat, model_digest, model_files
from lamella.export.formats import write_formats
from lamella.export.program import trace_program
from lamella.export.saved_model import write_unet_saved_model
from lamella.models.segmentation import SegmentationNetwork
from lamella.workloads.exported import REFERENCE_NAME, ExportedNetwork, write_answers
from lamella.workloads.inputs import open_input
from lamella.workloads.networks import INPUT, OUTPUT, workload_network
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.workload import open_workload

_log = logging.getLogger(__name__)


def workload_formats(engines: Iterable[EngineName]) -> list[ModelFormat]:
    """Return the formats that engines read, and ONNX, of which others are made."""
    wanted = {ModelFormat.ONNX, *(FORMATS[engine] for engine in engines)}
    return [each for each in ModelFormat if each in wanted]


def export_workload(
    *,
    case: BenchmarkCase,
    prepared: Path,
    output: Path,
    engines: Sequence[EngineName],
    opset: int,
    settings: WorkloadSettings,
    onnx2tf: Sequence[Path] = (),
) -> None:
    """Write a workload's network, and its answers to a few examples.

    Args:
        case: The workload.
        prepared: ``input.json`` of ``prepare_workload``.
        output: ``network.json``; each format gets a folder beside it.
        engines: Engines whose formats are written; ONNX in any case.
        opset: ONNX operator set.
        settings: Seed and size.
        onnx2tf: The file that names the Python of onnx2tf's environment, where it makes the
            SavedModel, which those of U-Nets do without; else nothing.

    Raises:
        StoreError: the prepared input is another one, or the same everywhere.
        ExportError: the network cannot be written as ONNX or by torch.export. Of another format
            ``network.json`` says why.
    """
    examples = open_workload(case, open_input(prepared), settings).examples()
    try:
        made = workload_network(case, examples, settings.seed)
    except ValueError as error:
        raise StoreError(
            f"no network can be settled on it ({error})",
            str(prepared),
            "Name another file in section `workloads`",
        ) from error
    folder, formats = output.parent, workload_formats(engines)
    # Two rows: a length of 1 would be taken for a fixed one.
    two = torch.from_numpy(np.concatenate([examples[:1]] * 2))
    program = trace_program(made.network, (two,))
    saved_model = None
    if isinstance(made.network, SegmentationNetwork):
        saved_model = partial(
            write_unet_saved_model, network=made.network, interface=made.interface
        )
    failures = write_formats(
        folder,
        program,
        formats,
        opset=opset,
        inputs=[INPUT],
        outputs=[OUTPUT],
        onnx2tf=onnx2tf,
        saved_model=saved_model,
    )
    write_answers(folder / REFERENCE_NAME, examples, _answers(made.network, examples))
    files = {
        stored: model_files(folder / stored, stored) for stored in formats if stored not in failures
    }
    ExportedNetwork(
        case=case,
        seed=settings.seed,
        parameters=made.parameters,
        interface=made.interface,
        digests={stored: model_digest(folder / stored, files[stored]) for stored in files},
        files=files,
        failures=failures,
    ).write(output)
    _log.info("%s: %.1f million weights as %s", case, made.parameters / 1e6, ", ".join(files))


def _answers(network: torch.nn.Module, examples: NDArray[np.generic]) -> NDArray[np.float32]:
    with torch.inference_mode():
        # One at a time: those of volumes are large.
        rows = [network(torch.from_numpy(examples[row : row + 1])) for row in range(len(examples))]
    return torch.cat(rows).numpy()

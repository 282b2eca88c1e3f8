"""A network of two inputs and two outputs, in every format and every engine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lamella.engines.load import FORMATS, load_engine
from lamella.engines.settings import EngineName
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
from lamella.export.onnx_file import write_onnx
from lamella.export.openvino_ir import write_openvino
from lamella.export.program import trace_program, write_program
from lamella.export.saved_model import write_saved_model
from lamella.export.torchscript import write_torchscript

OUTPUTS = ("scores", "grown")
ENGINES = (
    *(EngineName.TORCH, EngineName.TORCHSCRIPT, EngineName.TENSORFLOW),
    *(EngineName.ONNXRUNTIME, EngineName.OPENVINO),
)


class Two(nn.Module):
    """Scores of patches and ages, and the patches at half their size with their channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.linear = nn.Linear(4 + 2, 5)

    def forward(self, patches, ages):
        images = patches.permute(0, 3, 1, 2).to(torch.float32) / 255
        grown = torch.relu(self.convolution(images))
        return self.linear(torch.cat([grown.mean(dim=(2, 3)), ages], dim=1)), grown


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return Two().eval()


@pytest.fixture(scope="module")
def folder(network, onnx2tf, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("two")
    paths = {stored: root / stored / name for stored, name in MODEL_FILES.items()}
    examples = (torch.zeros((2, 6, 8, 3), dtype=torch.uint8), torch.zeros((2, 2)))
    program = trace_program(network, examples)
    onnx_file = paths[ModelFormat.ONNX]
    write_onnx(onnx_file, program, opset=18, inputs=["patches", "ages"], outputs=OUTPUTS)
    write_program(paths[ModelFormat.TORCH], program)
    write_torchscript(paths[ModelFormat.TORCHSCRIPT], program)
    write_openvino(paths[ModelFormat.OPENVINO], onnx_file)
    python = Path(onnx2tf.read_text().strip())
    write_saved_model(paths[ModelFormat.TENSORFLOW], onnx_file, python=python)
    for stored in ModelFormat:
        describe(root / stored, stored)
    return root


def describe(folder: Path, stored: ModelFormat) -> None:
    files = model_files(folder, stored)
    description = ModelDescription(
        format=stored,
        file=MODEL_FILES[stored],
        files=files,
        digest=model_digest(folder, files),
        opset=None,
        inputs=(
            TensorDescription(name="patches", dtype="uint8", shape=(-1, 6, 8, 3), layout="NHWC"),
            TensorDescription(name="ages", dtype="float32", shape=(-1, 2), layout="NC"),
        ),
        outputs=(
            TensorDescription(name="scores", dtype="float32", shape=(-1, 5), layout="NC"),
            TensorDescription(name="grown", dtype="float32", shape=(-1, 4, 3, 4), layout="NCHW"),
        ),
        classes=("a", "b", "c", "d", "e"),
        patch_px=8,
        mpp=0.5,
        origin=Origin(run="two", seed=1, metrics="", metric="", value=None, index_digest=""),
        lamella_version="",
        torch_version="",
    )
    write_description(folder, description)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("n", [1, 5])
def test_every_output_is_the_one_of_the_network(network, folder, name, n):
    generator = np.random.default_rng(n)
    patches = generator.integers(0, 256, (n, 6, 8, 3), dtype=np.uint8)
    ages = generator.random((n, 2), dtype=np.float32)
    found = load_engine(name, folder, threads=1).run((patches, ages))
    with torch.inference_mode():
        expected = network(torch.from_numpy(patches), torch.from_numpy(ages))
    assert [each.shape for each in found] == [(n, 5), (n, 4, 3, 4)]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)


def test_all_formats_are_read():
    assert {FORMATS[name] for name in ENGINES} == set(ModelFormat)


def test_wrong_numbers_of_inputs_and_rows_are_refused(folder):
    engine = load_engine(EngineName.TORCH, folder, threads=1)
    patches, ages = np.zeros((3, 6, 8, 3), dtype=np.uint8), np.zeros((2, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"different lengths \[2, 3\]"):
        engine.run((patches, ages))
    with pytest.raises(ValueError, match="takes 2 inputs, not 1"):
        engine.run((patches,))
    with pytest.raises(ValueError, match=r"has 2 outputs: use run\(\)"):
        engine.infer(patches)


def test_no_rows_give_no_rows_of_every_output(folder):
    engine = load_engine(EngineName.ONNXRUNTIME, folder, threads=1)
    none = np.zeros((0, 6, 8, 3), dtype=np.uint8), np.zeros((0, 2), dtype=np.float32)
    assert [each.shape for each in engine.run(none)] == [(0, 5), (0, 4, 3, 4)]

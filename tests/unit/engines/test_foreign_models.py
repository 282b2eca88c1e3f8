"""Models that Lamella has not exported."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch  # noqa: F401  # before TensorFlow: after it, it crashes
from PIL import Image

from lamella.engines.load import load_foreign_engine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelInterface, TensorDescription

MODELS = Path(os.environ.get("LAMELLA_TEST_DATA", "../shared/data")) / "models"
NEEDS_MODELS = pytest.mark.skipif(not MODELS.exists(), reason=f"there is no {MODELS}")
DIGITS = (0, 3, 5, 7)


@pytest.fixture(scope="module")
def digits():
    """Four handwritten digits, ``(4, 1, 28, 28)``, white on black in 0-255."""
    images = [Image.open(MODELS / "mnist" / f"{digit}.jpg").convert("L") for digit in DIGITS]
    return np.stack([np.asarray(each.resize((28, 28)), dtype=np.float32)[None] for each in images])


@NEEDS_MODELS
@pytest.mark.parametrize("name", [EngineName.ONNXRUNTIME, EngineName.OPENVINO])
def test_digits_are_read_four_at_once_by_a_model_of_batches_of_one(name, digits):
    engine = load_foreign_engine(name, MODELS / "mnist" / "opt-mnist.onnx", threads=1)
    assert [(each.name, each.dtype, each.shape) for each in engine.interface.inputs] == [
        ("Input3", "float32", (1, 1, 28, 28))
    ]
    answers = engine.infer(digits)
    assert answers.shape == (4, 10)
    assert answers.argmax(axis=1).tolist() == list(DIGITS)
    assert engine.infer(digits[:0]).shape == (0, 10)


@NEEDS_MODELS
def test_half_plus_two():
    folder = MODELS / "tf_serving" / "saved_model_half_plus_two_cpu" / "00000123"
    engine = load_foreign_engine(EngineName.TENSORFLOW, folder, threads=1)
    (given,) = engine.interface.inputs
    assert (given.dtype, given.shape) == ("float32", (-1, 1))
    answers = engine.infer(np.array([[1.0], [2.0], [5.0]], dtype=np.float32))
    assert answers.tolist() == [[2.5], [3.0], [4.5]]


@pytest.mark.parametrize(
    ("name", "file", "answers"),
    [
        (EngineName.ONNXRUNTIME, "onnx/model.onnx", "probabilities"),
        (EngineName.OPENVINO, "onnx/model.onnx", "probabilities"),
        (EngineName.OPENVINO, "openvino/model.xml", "probabilities"),
        (EngineName.TENSORFLOW, "tensorflow/saved_model", "probabilities"),
        # torch.export names outputs after the operation.
        (EngineName.TORCH, "torch/model.pt2", "softmax"),
    ],
)
def test_a_file_says_of_free_axes_that_they_are_free(name, file, answers, results):
    engine = load_foreign_engine(name, results.export_folder / file, threads=1)
    (given,), (answer,) = engine.interface.inputs, engine.interface.outputs
    assert (given.name, given.dtype, given.shape) == ("patches", "uint8", (-1, 48, 48, 3))
    assert (answer.name, answer.dtype, answer.shape) == (answers, "float32", (-1, 2))
    assert engine.infer(np.zeros((3, 48, 48, 3), dtype=np.uint8)).shape == (3, 2)


def test_torchscript_does_not_say_what_it_takes_and_can_be_told(results):
    path = results.export_folder / "torchscript" / "model.ts"
    with pytest.raises(StoreError, match="does not say what the inputs and outputs are"):
        load_foreign_engine(EngineName.TORCHSCRIPT, path, threads=1)
    fixed = ModelInterface(
        inputs=(TensorDescription(name="x", dtype="uint8", shape=(4, 48, 48, 3), layout="NHWC"),),
        outputs=(TensorDescription(name="y", dtype="float32", shape=(4, 2), layout="NC"),),
    )
    free = ModelInterface(
        inputs=(fixed.inputs[0].model_copy(update={"shape": (-1, 48, 48, 3)}),),
        outputs=fixed.outputs,
    )
    patches = np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8)
    in_fours, at_once = (
        load_foreign_engine(EngineName.TORCHSCRIPT, path, interface=each, threads=1).infer(patches)
        for each in (fixed, free)
    )
    np.testing.assert_allclose(in_fours, at_once, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [EngineName.ONNXRUNTIME, EngineName.OPENVINO])
def test_a_damaged_file_is_told(name, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineUnavailableError, match="cannot load the model"):
        load_foreign_engine(name, tmp_path / "model.onnx", threads=1)


@pytest.fixture
def table(tmp_path):
    """A model that looks rows up in a table of three."""
    make = onnx.helper
    rows = make.make_tensor_value_info("rows", onnx.TensorProto.INT64, ["n"])
    found = make.make_tensor_value_info("found", onnx.TensorProto.FLOAT, ["n", 2])
    values = make.make_tensor("values", onnx.TensorProto.FLOAT, [3, 2], [0, 1, 2, 3, 4, 5])
    node = make.make_node("Gather", ["values", "rows"], ["found"])
    graph = make.make_graph([node], "table", [rows], [found], [values])
    model = make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "table.onnx")
    return tmp_path / "table.onnx"


def test_what_a_library_says_where_it_fails_is_told_with_the_engine_and_the_batch(table):
    engine = load_foreign_engine(EngineName.ONNXRUNTIME, table, threads=1)
    assert engine.infer(np.array([2, 0])).tolist() == [[4, 5], [0, 1]]
    with pytest.raises(
        EngineUnavailableError,
        match=r"^onnxruntime on cpu in f32: it failed while it computed 2 at once \(.*bounds",
    ):
        engine.infer(np.array([2, 7]))

"""Models that Lamella has not exported."""

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch  # before TensorFlow: after it, it crashes
from PIL import Image
from torch import nn

from lamella.engines.available import engine_status
from lamella.engines.load import load_foreign_engine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.export.onnx_file import write_onnx
from lamella.export.program import trace_program
from lamella.settings import Device

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


def test_torchscript_without_forward_is_refused(tmp_path):
    class Named(nn.Module):
        @torch.jit.export
        def go(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Named()).save(tmp_path / "named.ts")
    with pytest.raises(StoreError, match=r"named\.ts: it has no method `forward`"):
        load_foreign_engine(
            EngineName.TORCHSCRIPT,
            tmp_path / "named.ts",
            interface=interface_of("x", "y"),
            threads=1,
        )


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


class Sums(nn.Module):
    """What two inputs are apart and together."""

    def forward(self, a, b):
        return a - b, a + b


@pytest.fixture
def sums(tmp_path):
    program = trace_program(Sums().eval(), (torch.zeros(2, 3), torch.zeros(2, 3)))
    path = tmp_path / "sums.onnx"
    write_onnx(path, program, opset=18, inputs=["a", "b"], outputs=["minus", "plus"])
    return path


def interface_of(inputs, outputs):
    def tensors(names):
        options = {"dtype": "float32", "shape": (-1, 3), "layout": "NC"}
        return tuple(TensorDescription(name=name, **options) for name in names)

    return ModelInterface(inputs=tensors(inputs), outputs=tensors(outputs))


FIVE, TWO = (np.full((1, 3), value, dtype=np.float32) for value in (5, 2))
BY_NAME = [EngineName.ONNXRUNTIME, EngineName.OPENVINO]


@pytest.mark.parametrize("name", BY_NAME)
def test_inputs_and_outputs_are_those_of_the_given_names_in_any_order(name, sums):
    given = interface_of("ba", ["plus", "minus"])
    plus, minus = load_foreign_engine(name, sums, interface=given, threads=1).run((TWO, FIVE))
    assert (plus[0, 0], minus[0, 0]) == (7, 3)
    one = interface_of("ab", ["plus"])
    (plus,) = load_foreign_engine(name, sums, interface=one, threads=1).run((FIVE, TWO))
    assert plus[0, 0] == 7


@pytest.fixture
def passed_on(tmp_path):
    """A model whose output is that of a layer, passed on by another name."""
    make = onnx.helper
    given, answer = (
        make.make_tensor_value_info(each, onnx.TensorProto.FLOAT, ["n", 3]) for each in ("x", "z")
    )
    nodes = [make.make_node("Neg", ["x"], ["b"]), make.make_node("Identity", ["b"], ["z"])]
    graph = make.make_graph(nodes, "one", [given], [answer])
    model = make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "passed_on.onnx")
    return tmp_path / "passed_on.onnx"


@pytest.mark.parametrize("name", BY_NAME)
def test_an_output_that_is_passed_on_goes_by_its_own_name(name, passed_on):
    detected = load_foreign_engine(name, passed_on, threads=1)
    assert [each.name for each in detected.interface.outputs] == ["z"]
    given = interface_of("x", "z")
    engine = load_foreign_engine(name, passed_on, interface=given, threads=1)
    assert engine.interface is given
    assert engine.infer(FIVE)[0, 0] == detected.infer(FIVE)[0, 0] == -5


def test_openvino_takes_each_name_of_an_output(passed_on):
    load_foreign_engine(EngineName.OPENVINO, passed_on, interface=interface_of("x", "b"), threads=1)
    with pytest.raises(StoreError, match="its outputs are z, not a"):
        load_foreign_engine(
            EngineName.OPENVINO, passed_on, interface=interface_of("x", "a"), threads=1
        )


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ("az", ["minus"], "its inputs are a, b, not a, z"),
        ("a", ["minus"], "its inputs are a, b, not a"),
        ("ab", ["times"], "its outputs are minus, plus, not times"),
    ],
)
def test_names_that_the_model_does_not_have_are_refused(name, inputs, outputs, words, sums):
    with pytest.raises(StoreError, match=rf"sums\.onnx: {words}\. Correct the interface"):
        load_foreign_engine(name, sums, interface=interface_of(inputs, outputs), threads=1)


def given_patches(**changes):
    """What the classifier of ``results`` takes and gives, with changes of its input."""
    patches = TensorDescription(name="patches", dtype="uint8", shape=(-1, 48, 48, 3), layout="")
    answers = TensorDescription(name="probabilities", dtype="float32", shape=(-1, 2), layout="")
    return ModelInterface(inputs=(patches.model_copy(update=changes),), outputs=(answers,))


FILES = [
    (EngineName.ONNXRUNTIME, "onnx/model.onnx"),
    (EngineName.OPENVINO, "openvino/model.xml"),
    (EngineName.TENSORFLOW, "tensorflow/saved_model"),
    (EngineName.TORCH, "torch/model.pt2"),
]


@pytest.mark.parametrize(("name", "file"), FILES)
@pytest.mark.parametrize(
    "changes", [{"dtype": "float32"}, {"shape": (-1, 3, 48, 48)}, {"shape": (-1, 48, 48)}]
)
def test_types_and_shapes_that_the_model_does_not_have_are_refused(name, file, changes, results):
    path = results.export_folder / file
    words = r"its patches is uint8 of shape \(-1, 48, 48, 3\), not .* Correct the interface"
    with pytest.raises(StoreError, match=words):
        load_foreign_engine(name, path, interface=given_patches(**changes), threads=1)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_lengths_that_are_free_in_the_file_may_be_given(name, file, results):
    path = results.export_folder / file
    fixed = given_patches(shape=(4, -1, 48, 3))
    engine = load_foreign_engine(name, path, interface=fixed, threads=1)
    assert engine.infer(np.zeros((6, 48, 48, 3), dtype=np.uint8)).shape == (6, 2)


@pytest.mark.parametrize(
    ("name", "file"), [*FILES[3:], (EngineName.TORCHSCRIPT, "torchscript/model.ts")]
)
@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [(2, 1, "it has 1 inputs, not 2"), (1, 0, "it has 1 outputs, not 0")],
)
def test_more_or_fewer_inputs_and_outputs_than_torchs_are_refused(
    name, file, inputs, outputs, words, results
):
    (one,), (other,) = given_patches().inputs, given_patches().outputs
    given = ModelInterface(inputs=(one,) * inputs, outputs=(other,) * outputs)
    with pytest.raises(StoreError, match=words):
        load_foreign_engine(name, results.export_folder / file, interface=given, threads=1)


def test_text_is_given_by_numpys_name_of_its_type(tmp_path):
    make = onnx.helper
    values = [make.make_tensor_value_info(each, onnx.TensorProto.STRING, ["n"]) for each in "xy"]
    node = make.make_node("Identity", ["x"], ["y"])
    graph = make.make_graph([node], "text", values[:1], values[1:])
    model = make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "text.onnx")
    given, answer = (
        TensorDescription(name=each, dtype="object", shape=(-1,), layout="N") for each in "xy"
    )
    engine = load_foreign_engine(
        EngineName.ONNXRUNTIME,
        tmp_path / "text.onnx",
        interface=ModelInterface(inputs=(given,), outputs=(answer,)),
        threads=1,
    )
    assert engine.infer(np.array(["a", "b"], dtype=object)).tolist() == ["a", "b"]


@pytest.mark.parametrize("name", EngineName)
def test_a_model_that_is_not_there_is_named(name, tmp_path):
    if engine_status(name, Device.CPU).reason is not None:
        pytest.skip("not available here")
    with pytest.raises(StoreError, match=r"absent\.model: there is no such model"):
        load_foreign_engine(name, tmp_path / "absent.model", threads=1)


@pytest.mark.parametrize(
    ("name", "file"),
    [(EngineName.TORCH, "torch/model.pt2"), (EngineName.TORCHSCRIPT, "torchscript/model.ts")],
)
def test_flipped_bits_of_torchs_files_are_not_taken_for_weights(name, file, results, tmp_path):
    content = bytearray((results.export_folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped").write_bytes(content)
    with pytest.raises(StoreError, match="flipped: the model is damaged"):
        load_foreign_engine(name, tmp_path / "flipped", threads=1)


def test_a_file_of_torchs_whose_list_of_contents_is_damaged_is_told(results, tmp_path):
    content = (results.export_folder / "torch" / "model.pt2").read_bytes()
    (tmp_path / "damaged").write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    with pytest.raises(StoreError, match="damaged: the model is damaged"):
        load_foreign_engine(EngineName.TORCH, tmp_path / "damaged", threads=1)


class Odd(nn.Module):
    """A network that does not give tensors alone, or not in a row."""

    def __init__(self, given) -> None:
        super().__init__()
        self.given = given

    def forward(self, x):
        return self.given(x)


def odd(path, given):
    free = ({0: torch.export.Dim("n")},)
    program = torch.export.export(Odd(given), (torch.zeros(2, 3),), dynamic_shapes=free)
    torch.export.save(program, path)
    return path


def test_outputs_of_a_program_may_be_named_or_nested(tmp_path):
    for given in (lambda x: {"x": x * 2, "y": x * 3}, lambda x: (x * 2, [x * 3])):
        path = odd(tmp_path / "odd.pt2", given)
        found = load_foreign_engine(EngineName.TORCH, path, threads=1).run((FIVE,))
        assert [each[0, 0] for each in found] == [10, 15]


def test_an_output_that_is_no_tensor_is_refused(tmp_path):
    path = odd(tmp_path / "odd.pt2", lambda x: (x * 2, None))
    with pytest.raises(StoreError, match=r"odd\.pt2: it takes or gives None, which is no tensor"):
        load_foreign_engine(EngineName.TORCH, path, threads=1)


def test_a_truncated_saved_model_makes_the_engine_unavailable(results, tmp_path):
    folder = shutil.copytree(results.export_folder / "tensorflow" / "saved_model", tmp_path / "cut")
    (weights,) = folder.glob("variables/variables.data-*")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(EngineUnavailableError, match="cut in tensorflow on cpu: it cannot load"):
        load_foreign_engine(EngineName.TENSORFLOW, folder, threads=1)


def test_a_saved_model_without_the_usual_signature_says_which_it_has(tmp_path):
    from lamella.engines.tensorflow_engine import tf

    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None, 3])])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"double": module.double})
    with pytest.raises(StoreError, match="no signature serving_default, but double"):
        load_foreign_engine(EngineName.TENSORFLOW, tmp_path / "other", threads=1)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_input_without_an_axis_for_rows_is_refused(name, tmp_path):
    make = onnx.helper
    values = [make.make_tensor_value_info(each, onnx.TensorProto.FLOAT, []) for each in "xy"]
    graph = make.make_graph([make.make_node("Relu", ["x"], ["y"])], "one", values[:1], values[1:])
    model = make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "one.onnx")
    with pytest.raises(StoreError, match="its x has no axis for the rows of a batch"):
        load_foreign_engine(name, tmp_path / "one.onnx", threads=1)


def saved_without_ranks(path):
    from lamella.engines.tensorflow_engine import tf

    module = tf.Module()
    module.same = tf.function(
        lambda x: {"y": tf.ensure_shape(x, None)},
        input_signature=[tf.TensorSpec(None, tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(path), signatures=module.same)


def onnx_without_ranks(path):
    make = onnx.helper
    given = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", "m"])
    answer = make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    # How many axes are longer than 1 is known when it computes.
    graph = make.make_graph([make.make_node("Squeeze", ["x"], ["y"])], "one", [given], [answer])
    onnx.save(
        make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)]), path
    )


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (EngineName.TENSORFLOW, saved_without_ranks),
        (EngineName.ONNXRUNTIME, onnx_without_ranks),
    ],
)
def test_axes_that_the_file_does_not_tell_are_given(name, write, tmp_path):
    path = tmp_path / "model.onnx"
    write(path)
    if name is EngineName.TENSORFLOW:
        with pytest.raises(
            StoreError, match=r"does not say so\. Give inputs and outputs to `load_fore"
        ):
            load_foreign_engine(name, path, threads=1)
    engine = load_foreign_engine(name, path, interface=interface_of("x", "y"), threads=1)
    np.testing.assert_array_equal(
        engine.infer(np.eye(2, 3, dtype=np.float32)), np.eye(2, 3, dtype=np.float32)
    )


@pytest.mark.parametrize("name", BY_NAME)
def test_parts_of_a_batch_are_not_joined_along_another_axis(name, tmp_path):
    make = onnx.helper
    given = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])
    nodes = [
        make.make_node("NonZero", ["x"], ["turned"]),
        make.make_node("Transpose", ["turned"], ["places"], perm=[1, 0]),
    ]
    answer = make.make_tensor_value_info("places", onnx.TensorProto.INT64, ["k", 2])
    graph = make.make_graph(nodes, "one", [given], [answer])
    model = make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "places.onnx")
    engine = load_foreign_engine(name, tmp_path / "places.onnx", threads=1)
    ones = np.ones((4, 3), dtype=np.float32)
    assert engine.infer(ones[:2]).shape == (6, 2)
    with pytest.raises(
        EngineUnavailableError, match=r"output places is of shape \(6, 2\) for 2 row"
    ):
        engine.infer(ones)


def cut(path, sums):
    path.write_bytes(sums.read_bytes()[:-10])


def of_determinants(path, _):
    make = onnx.helper
    given = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 3])
    answer = make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n"])
    graph = make.make_graph([make.make_node("Det", ["x"], ["y"])], "one", [given], [answer])
    onnx.save(
        make.make_model(graph, ir_version=10, opset_imports=[make.make_opsetid("", 18)]), path
    )


def without_weights(path, sums):
    model = onnx.load(sums)
    weights = onnx.numpy_helper.from_array(np.ones(3000, dtype=np.float32), "weights")
    model.graph.initializer.append(weights)
    model.graph.node.append(onnx.helper.make_node("Size", ["weights"], ["size"]))
    onnx.save(model, path, save_as_external_data=True, location="weights.data")
    (path.parent / "weights.data").unlink()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (cut, "Model can't be parsed"),
        (of_determinants, "No conversion rule found for operations: Det-18"),
        (without_weights, "Invalid usage of method for externally stored data in file"),
    ],
)
def test_openvinos_headings_and_places_in_its_source_are_no_reason(write, words, sums, tmp_path):
    path = tmp_path / "model.onnx"
    write(path, sums)
    with pytest.raises(EngineUnavailableError, match=rf"cannot load the model \({words}"):
        load_foreign_engine(EngineName.OPENVINO, path, threads=1)


def test_a_file_of_torchs_that_is_no_program_is_told(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(EngineUnavailableError, match=r"it is no program of .* file is whole"):
        load_foreign_engine(EngineName.TORCH, tmp_path / "weights.pt", threads=1)

"""TensorRT for RTX builds plans without a GPU; running them is asked in ``test_on_gpu.py``."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorrt_rtx_bindings as tensorrt_rtx
import torch
from torch import nn

from lamella.benchmark.settings import BenchmarkCase
from lamella.engines import plan_engine, tensorrt_rtx_engine
from lamella.engines.gpu import Gpu, GpuQueue, first_gpu
from lamella.engines.load import engine_precisions, engine_version, load_foreign_engine
from lamella.engines.settings import EngineName, ParityLimits, Precision
from lamella.engines.tensorrt_plan import PlanBuilder, asked, prepared
from lamella.engines.tensorrt_rtx_engine import TensorRtRtxEngine
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.export.onnx_file import write_onnx
from lamella.export.program import trace_program
from lamella.settings import Device
from lamella.workloads.networks import INPUT, OUTPUT, workload_network

RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", (8, 9))
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0))
TYPES = tensorrt_rtx.DataType

needs_no_gpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason="asks what is said without an NVIDIA GPU"
)


class Both(nn.Module):
    """Two inputs of two types, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, patches: torch.Tensor, ages: torch.Tensor) -> tuple[torch.Tensor, ...]:
        grown = self.convolution(patches.permute(0, 3, 1, 2).to(torch.float32) / 255)
        return grown, grown.mean(dim=(2, 3)).sum(dim=1, keepdim=True) * ages


@pytest.fixture(scope="module")
def classifier(results):
    return results.export_folder / "onnx" / "model.onnx"


def written(path, network, examples, inputs, outputs):
    write_onnx(path, trace_program(network, examples), opset=18, inputs=inputs, outputs=outputs)
    return path


def of_workload(path, case, shape):
    drawn = np.random.default_rng(0).integers(0, 255, shape)
    examples = drawn.astype(np.int16 if case is BenchmarkCase.CT else np.uint8)
    network = workload_network(case, examples, seed=0).network
    return written(path, network, (torch.from_numpy(examples[:2]),), [INPUT], [OUTPUT])


def builder_of(path, *, batch_sizes=(1,), precision=Precision.F32):
    model = prepared(onnx.load(path), precision)
    tf32 = precision is Precision.TF32
    return PlanBuilder(
        tensorrt_rtx,
        model,
        batch_sizes=batch_sizes,
        tf32=tf32,
        capability=RTX_4090.capability,
    )


def interface_of(network):
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return [(each.name, tuple(each.shape), each.dtype) for each in (*inputs, *outputs)]


def test_a_patch_classifier_becomes_a_plan_that_takes_patches_as_they_lie_in_a_shard(classifier):
    builder = builder_of(classifier, batch_sizes=(1, 16))
    assert interface_of(builder.network) == [
        ("patches", (-1, 48, 48, 3), TYPES.UINT8),
        ("probabilities", (-1, 2), TYPES.FLOAT),
    ]
    assert builder.config.num_optimization_profiles == 2
    # All weights are in it.
    assert len(builder.build()) > 0.9 * classifier.stat().st_size


def test_a_network_of_two_inputs_and_two_outputs_becomes_a_plan(tmp_path):
    examples = (torch.zeros((2, 9, 11, 3), dtype=torch.uint8), torch.zeros((2, 1)))
    names = (["patches", "ages"], ["grown", "product"])
    builder = builder_of(written(tmp_path / "both.onnx", Both().eval(), examples, *names))
    assert interface_of(builder.network) == [
        ("patches", (-1, 9, 11, 3), TYPES.UINT8),
        ("ages", (-1, 1), TYPES.FLOAT),
        ("grown", (-1, 4, 4, 5), TYPES.FLOAT),
        ("product", (-1, 1), TYPES.FLOAT),
    ]
    assert builder.build()


@pytest.mark.parametrize("precision", [Precision.F32, Precision.F16])
@pytest.mark.parametrize(
    ("case", "shape"),
    [(BenchmarkCase.ULTRASOUND, (3, 64, 96)), (BenchmarkCase.CT, (2, 16, 32, 48))],
)
def test_the_networks_of_the_workloads_become_plans(case, shape, precision, tmp_path):
    model = of_workload(tmp_path / "model.onnx", case, shape)
    builder = builder_of(model, precision=precision)
    (_, _, taken), _ = interface_of(builder.network)
    assert taken == (TYPES.INT32 if case is BenchmarkCase.CT else TYPES.UINT8)
    assert builder.build()


def test_integers_that_are_lengthened_get_the_same_answers(tmp_path):
    path = of_workload(tmp_path / "model.onnx", BenchmarkCase.CT, (2, 16, 32, 48))
    volumes = np.random.default_rng(1).integers(-1300, 500, (2, 16, 32, 48), dtype=np.int16)
    lengthened = prepared(onnx.load(path), Precision.F32).SerializeToString()
    ours, theirs = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
            None, {INPUT: given}
        )[0]
        for model, given in (
            (lengthened, volumes.astype(np.int32)),
            (path.read_bytes(), volumes),
        )
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", [Precision.F32, Precision.TF32])
def test_tf32_is_taken_where_it_is_asked_for_alone(precision, classifier):
    config = builder_of(classifier, precision=precision).config
    assert config.get_flag(tensorrt_rtx.BuilderFlag.TF32) is (precision is Precision.TF32)


def test_f16_is_the_type_of_the_layers_and_not_of_inputs_and_outputs(classifier):
    halved, whole = (
        builder_of(classifier, precision=each).network for each in (Precision.F16, Precision.F32)
    )
    assert interface_of(halved) == interface_of(whole)
    assert types_of_convolutions(halved) == {TYPES.HALF}
    assert types_of_convolutions(whole) == {TYPES.FLOAT}


def types_of_convolutions(network):
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kind = tensorrt_rtx.LayerType.CONVOLUTION
    return {each.get_output(0).dtype for each in layers if each.type == kind}


def test_answers_in_f16_are_within_its_limit(classifier):
    patches = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    halved, whole = (
        onnxruntime.InferenceSession(
            prepared(onnx.load(classifier), each).SerializeToString(),
            providers=["CPUExecutionProvider"],
        ).run(None, {"patches": patches})[0]
        for each in (Precision.F16, Precision.F32)
    )
    assert 0 < np.abs(halved - whole).max() < ParityLimits().f16


def rectifier(path, shape):
    """Write a network that sets what is below zero to zero."""
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("signal", "rectified")
    ]
    node = onnx.helper.make_node("Relu", ["signal"], ["rectified"])
    graph = onnx.helper.make_graph([node], "rectifier", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    return path


def test_a_network_of_fixed_batches_is_built_for_them(tmp_path):
    builder = builder_of(rectifier(tmp_path / "fixed.onnx", [4, 5]), batch_sizes=(1, 16))
    assert builder.config.num_optimization_profiles == 0
    assert builder.build()


def test_another_free_axis_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="the input signal has free axes beside the first"):
        builder_of(rectifier(tmp_path / "free.onnx", ["n", 5, "columns"]))


def test_what_tensorrt_does_not_know_is_told_in_its_words(tmp_path):
    path = rectifier(tmp_path / "unknown.onnx", [4, 5])
    model = onnx.load(path)
    model.graph.node[0].op_type = "Unheard"
    onnx.save(model, path)
    with pytest.raises(RuntimeError, match="Unheard"):
        builder_of(path)


@needs_no_gpu
def test_without_a_gpu_cuda_says_why():
    with pytest.raises(RuntimeError, match=r"CUDA|no CUDA-capable device"):
        first_gpu()
    with pytest.raises(RuntimeError, match=r"CUDA|no CUDA-capable device"):
        GpuQueue()
    with pytest.raises(EngineUnavailableError, match=r"cannot use a GPU \(.*CUDA"):
        engine_version(EngineName.TENSORRT_RTX, Device.CUDA)


def test_the_cpu_is_refused():
    with pytest.raises(EngineUnavailableError, match="computes on NVIDIA GPUs alone"):
        engine_version(EngineName.TENSORRT_RTX, Device.CPU)


@pytest.fixture
def on_gpu(monkeypatch):
    """Say that there is a GPU, up to the first call that needs one."""

    def say(gpu):
        for module in (plan_engine, tensorrt_rtx_engine):
            monkeypatch.setattr(module, "first_gpu", lambda: gpu)

    return say


def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_refused(on_gpu):
    on_gpu(RTX_4090)
    assert engine_version(EngineName.TENSORRT_RTX, Device.CUDA) == tensorrt_rtx.__version__
    on_gpu(H100)
    with pytest.raises(EngineUnavailableError, match=r"not compute .* capability 9\.0"):
        engine_version(EngineName.TENSORRT_RTX, Device.CUDA)


def test_precisions_are_those_of_the_gpu_without_bf16(on_gpu):
    on_gpu(RTX_4090)
    found = engine_precisions(EngineName.TENSORRT_RTX, Device.CUDA)
    assert found == (Precision.F32, Precision.TF32, Precision.F16)
    on_gpu(Gpu("Tesla T4", (7, 5)))
    found = engine_precisions(EngineName.TENSORRT_RTX, Device.CUDA)
    assert found == (Precision.F32, Precision.F16)


def test_a_tensorrt_without_strong_types_is_refused(on_gpu, monkeypatch):
    on_gpu(RTX_4090)
    old = SimpleNamespace(
        __version__="8.6.1", NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0)
    )
    monkeypatch.setattr(TensorRtRtxEngine, "library", old)
    with pytest.raises(EngineUnavailableError, match=r"TensorRT 8\.6\.1 is older than 10"):
        engine_version(EngineName.TENSORRT_RTX, Device.CUDA)


@pytest.fixture
def loaded(on_gpu, monkeypatch, tmp_path, classifier):
    """Load the classifier up to its plan, whose bytes stand for what a GPU would read."""
    on_gpu(RTX_4090)
    monkeypatch.setattr(plan_engine, "GpuQueue", object)
    monkeypatch.setattr(TensorRtRtxEngine, "_warm_up", lambda _: None)
    nothing = ModelInterface(inputs=(), outputs=())
    monkeypatch.setattr(TensorRtRtxEngine, "_detect", lambda *_: nothing)
    monkeypatch.setattr(
        TensorRtRtxEngine, "_read", lambda _, plan: plan if len(plan) > 100 else None
    )
    (tmp_path / "model.onnx").write_bytes(classifier.read_bytes())

    def load(**given):
        engine = load_foreign_engine(
            EngineName.TENSORRT_RTX,
            tmp_path / "model.onnx",
            device=Device.CUDA,
            threads=1,
            **given,
        )
        assert len(engine._plan) > 100
        return {each.name: each.stat().st_mtime_ns for each in (tmp_path / "plans").glob("*")}

    return load


def test_a_plan_is_built_once_for_model_library_gpu_precision_and_batch_sizes(
    loaded, on_gpu, tmp_path
):
    first = loaded()
    assert len(first) == 1
    assert next(iter(first)).startswith(
        f"tensorrt_rtx_{tensorrt_rtx.__version__}_NVIDIA-GeForce-RTX-4090_sm8.9_f32_1_"
    )
    assert loaded() == first
    assert len(loaded(batch_sizes=(1, 8))) == 2
    assert len(loaded(precision=Precision.TF32)) == 3
    on_gpu(Gpu("NVIDIA RTX A6000", (8, 6)))
    assert len(loaded()) == 4
    model = tmp_path / "model.onnx"
    onnx.save(prepared(onnx.load(model), Precision.F16), model)
    assert len(loaded()) == 5


def test_the_time_of_building_is_told_where_a_plan_is_built(loaded, tmp_path):
    path = tmp_path / "model.onnx"
    first, second = (
        load_foreign_engine(EngineName.TENSORRT_RTX, path, device=Device.CUDA, threads=1)
        for _ in range(2)
    )
    assert first.build_ms > 1
    assert second.build_ms is None


def test_a_damaged_plan_is_built_again(loaded, tmp_path):
    ((name, made),) = loaded().items()
    (tmp_path / "plans" / name).write_bytes(b"nonsense")
    ((again, renewed),) = loaded().items()
    assert again == name
    assert renewed != made
    assert (tmp_path / "plans" / name).stat().st_size > 1000


def test_a_plan_that_cannot_be_kept_is_used_all_the_same(loaded, tmp_path, caplog):
    (tmp_path / "plans").write_text("a file where the folder should be")
    assert loaded() == {}
    assert "the plan is not kept" in caplog.text


def test_a_damaged_model_makes_the_engine_unavailable(loaded, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineUnavailableError, match="cannot load the model"):
        loaded()


def test_weights_in_a_file_of_their_own_are_read_and_are_part_of_the_name(loaded, tmp_path):
    path = tmp_path / "model.onnx"
    apart = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
    onnx.save(onnx.load(path), path, **apart)
    assert len(loaded()) == 1
    weights = bytearray((tmp_path / "weights").read_bytes())
    weights[len(weights) // 2] ^= 1
    (tmp_path / "weights").write_bytes(weights)
    assert len(loaded()) == 2
    (tmp_path / "weights").unlink()
    with pytest.raises(EngineUnavailableError, match="cannot load the model"):
        loaded()


@needs_no_gpu
def test_a_plan_that_the_gpu_refuses_makes_the_engine_unavailable(loaded, monkeypatch):
    monkeypatch.setattr(
        TensorRtRtxEngine, "_read", lambda self, plan: self._runtime.deserialize_cuda_engine(plan)
    )
    with pytest.raises(EngineUnavailableError, match="cannot load the model"):
        loaded()


class Context:
    """Computes ``doubled = 2 * numbers`` and ``sums`` of its rows, where a plan's tensors lie."""

    def __init__(self, memory, calls):
        self.memory, self.calls, self.where = memory, calls, {}

    def set_optimization_profile_async(self, profile, queue):
        self.profile = profile
        return True

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return self.shape[0] <= SIZES[self.profile]

    def get_tensor_shape(self, name):
        return self.shape if name != "sums" else self.shape[:1]

    def set_tensor_address(self, name, address):
        self.where[name] = address
        return True

    def execute_async_v3(self, queue):
        self.calls.append((self.profile, self.shape[0]))
        numbers = self.memory[self.where["numbers"]][: self.shape[0]]
        self.memory[self.where["doubled"]] = 2 * numbers
        self.memory[self.where["sums"]] = numbers.sum(axis=1)
        return True


SIZES = (1, 4)
TENSORS = {"numbers": (-1, 3), "doubled": (-1, 3), "sums": (-1,)}
KINDS: dict[str, object] = {}


@pytest.fixture
def calls(on_gpu, monkeypatch):
    """A plan that numpy computes: which profile is asked for how many rows."""
    memory, calls = {}, []

    class Queue:
        handle = 7

        def allocate(self, size):
            memory[len(memory)] = size
            return len(memory) - 1

        def upload(self, array, address):
            memory[address] = array.copy()

        def download(self, address, shape, dtype):
            assert memory[address].shape == shape
            return memory[address].astype(dtype)

        def wait(self):
            pass

    names = list(TENSORS)
    plan = SimpleNamespace(
        num_io_tensors=len(names),
        get_tensor_name=names.__getitem__,
        get_tensor_mode=lambda name: getattr(
            tensorrt_rtx.TensorIOMode, "INPUT" if name == "numbers" else "OUTPUT"
        ),
        get_tensor_dtype=lambda name: KINDS.get(name, TYPES.FLOAT),
        get_tensor_shape=TENSORS.__getitem__,
        get_tensor_location=lambda _: tensorrt_rtx.TensorLocation.DEVICE,
    )
    on_gpu(RTX_4090)
    monkeypatch.setattr(plan_engine, "GpuQueue", Queue)
    monkeypatch.setattr(TensorRtRtxEngine, "_build", lambda *_: plan)
    monkeypatch.setattr(TensorRtRtxEngine, "_new_context", lambda _: Context(memory, calls))
    return calls


def loaded_plan(path, interface=None):
    return load_foreign_engine(
        EngineName.TENSORRT_RTX,
        rectifier(path / "any.onnx", ["n", 3]),
        interface=interface,
        device=Device.CUDA,
        threads=1,
        batch_sizes=SIZES,
    )


NUMBERS = np.arange(27, dtype=np.float32).reshape(9, 3)


def test_parts_of_a_batch_are_not_joined_along_another_axis(calls, tmp_path, monkeypatch):
    engine = loaded_plan(tmp_path, interface("sums"))
    monkeypatch.setattr(engine, "_run_part", lambda inputs: (inputs[0].sum(axis=0),))
    with pytest.raises(EngineUnavailableError, match=r"its output sums is of shape \(3,\) for 4"):
        engine.run((NUMBERS,))


def test_shorter_integers_are_given_as_those_of_the_plan(calls, tmp_path, monkeypatch):
    uploaded = []
    upload = plan_engine.GpuQueue.upload
    monkeypatch.setattr(
        plan_engine.GpuQueue,
        "upload",
        lambda self, array, address: (uploaded.append(array.dtype), upload(self, array, address)),
    )
    monkeypatch.setitem(KINDS, "numbers", TYPES.INT32)
    engine = loaded_plan(tmp_path, interface("sums", dtype="int16"))
    (sums,) = engine.run((-NUMBERS.astype(np.int16),))
    np.testing.assert_array_equal(sums, -NUMBERS.sum(axis=1))
    assert set(uploaded) == {np.dtype(np.int32)}
    for other in ("int64", "uint32", "float32"):
        with pytest.raises(StoreError, match="its numbers is int32 of shape"):
            loaded_plan(tmp_path, interface("sums", dtype=other))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, [(0, 1)]), (2, [(1, 2)]), (4, [(1, 4)]), (9, [(1, 4), (1, 4), (0, 1)])],
)
def test_each_number_of_rows_gets_the_profile_that_is_tuned_for_it(rows, expected, calls, tmp_path):
    doubled, sums = loaded_plan(tmp_path).run((NUMBERS[:rows],))
    np.testing.assert_array_equal(doubled, 2 * NUMBERS[:rows])
    np.testing.assert_array_equal(sums, NUMBERS[:rows].sum(axis=1))
    assert calls == expected


def interface(*outputs, dtype="float32", rows=-1):
    inputs = (TensorDescription(name="numbers", dtype=dtype, shape=(rows, 3), layout="NC"),)
    return ModelInterface(
        inputs=inputs,
        outputs=tuple(
            TensorDescription(name=name, dtype="float32", shape=TENSORS[name], layout="")
            for name in outputs
        ),
    )


def test_outputs_that_nobody_asked_for_have_memory_too(calls, tmp_path):
    (sums,) = loaded_plan(tmp_path, interface("sums")).run((NUMBERS,))
    np.testing.assert_array_equal(sums, NUMBERS.sum(axis=1))


def test_types_that_the_plan_does_not_have_are_refused(calls, tmp_path):
    with pytest.raises(StoreError, match=r"its numbers is float32 of shape \(-1, 3\)"):
        loaded_plan(tmp_path, interface("sums", dtype="float16"))


def test_rows_are_free_where_the_plans_are(calls, tmp_path):
    with pytest.raises(EngineUnavailableError, match=r"its numbers is of shape \(-1, 3\), not \(4"):
        loaded_plan(tmp_path, interface("sums", rows=4))


def test_an_output_whose_length_depends_on_the_data_is_refused(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(Context, "get_tensor_shape", lambda *_: (-1, 3))
    with pytest.raises(EngineUnavailableError, match="lengths of numbers depend on what it is"):
        loaded_plan(tmp_path)


def test_what_tensorrt_says_first_is_the_reason():
    log = SimpleNamespace(errors=["of an earlier call"])

    def fails(*words):
        log.errors += words

    with pytest.raises(RuntimeError, match=r"^the reason$"):
        asked(log, fails, "the reason", "and what comes of it")
    with pytest.raises(RuntimeError, match="gives no reason"):
        asked(log, fails)
    assert asked(log, lambda: 3) == 3


def test_plans_are_built_for_the_gpu_that_is_there(classifier):
    config = builder_of(classifier).config
    assert config.num_compute_capabilities == 1
    assert config.get_compute_capability(0) == tensorrt_rtx.ComputeCapability.SM89


def test_bytes_become_fractions_before_anything_else(tmp_path):
    examples = (torch.zeros((2, 9, 11, 3), dtype=torch.uint8), torch.zeros((2, 1)))
    names = (["patches", "ages"], ["grown", "product"])
    path = written(tmp_path / "both.onnx", Both().eval(), examples, *names)
    model = prepared(onnx.load(path), Precision.F32)
    users = [node for node in model.graph.node if "patches" in node.input]
    assert [(node.op_type, node.attribute[0].i) for node in users] == [
        ("Cast", onnx.TensorProto.FLOAT)
    ]
    given = {"patches": np.random.default_rng(0).integers(0, 256, (2, 9, 11, 3), dtype=np.uint8)}
    given["ages"] = np.ones((2, 1), dtype=np.float32)
    ours, theirs = (
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, given)
        for each in (model.SerializeToString(), path.read_bytes())
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)

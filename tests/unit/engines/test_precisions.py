"""What each engine computes in, and that it does."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lamella.engines import onnxruntime_engine, openvino_engine
from lamella.engines.available import engine_status
from lamella.engines.engine import gpu_lacks
from lamella.engines.gpu import Gpu
from lamella.engines.load import FORMATS, load_engine, load_foreign_engine
from lamella.engines.openvino_engine import cpu_capabilities
from lamella.engines.samples import read_patches
from lamella.engines.settings import EngineName, ParityLimits, Precision
from lamella.engines.torch_engine import TorchEngine
from lamella.engines.torchscript_engine import allow_tf32
from lamella.errors import EngineUnavailableError
from lamella.export.description import open_model
from lamella.export.program import trace_program, write_program
from lamella.export.torchscript import torch_jit_unheard
from lamella.patches.index import read_index
from lamella.settings import Device

HALVED = (
    EngineName.TORCH,
    EngineName.TORCH_COMPILED,
    EngineName.TORCHSCRIPT,
    EngineName.OPENVINO,
)


def needs_bf16(name):
    return pytest.mark.skipif(
        Precision.BF16 not in engine_status(name, Device.CPU).precisions,
        reason=f"{name} does not compute in bf16 on this CPU",
    )


@pytest.fixture(scope="module")
def patches(results):
    index = read_index(results.index)
    return read_patches(index.table, index)


@pytest.mark.parametrize("name", [pytest.param(each, marks=needs_bf16(each)) for each in HALVED])
def test_in_bf16_answers_are_others_than_in_f32_as_numbers_of_32_bits(name, results, patches):
    full = load_engine(name, results.export_folder, threads=1)
    half = load_engine(name, results.export_folder, precision=Precision.BF16, threads=1)
    assert (full.precision, half.precision) == (Precision.F32, Precision.BF16)
    before, rounded, after = full.infer(patches), half.infer(patches), full.infer(patches)
    assert rounded.dtype == np.float32
    # 8 significant bits of 24: more than what the limit of f32 allows, and no other network.
    assert 1e-3 < np.abs(rounded - before).max() < 0.1
    assert before.tobytes() == after.tobytes()


@needs_bf16(EngineName.TORCH)
def test_the_exported_program_is_rounded_where_torch_rounds_the_trained_network(results, patches):
    from lamella.training.checkpoint import load_trained

    network = load_trained(results.metrics[1]).inference()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = network(torch.from_numpy(patches)).float().numpy()
    half = load_engine(EngineName.TORCH, results.export_folder, precision=Precision.BF16, threads=1)
    np.testing.assert_array_equal(half.infer(patches), expected)


@needs_bf16(EngineName.TORCH)
def test_torch_casts_the_weights_of_a_loaded_program_once(results):
    half = load_engine(EngineName.TORCH, results.export_folder, precision=Precision.BF16, threads=1)
    weights = list(half._module.parameters())
    assert {weight.dtype for weight in weights if weight.ndim > 1} == {torch.bfloat16}
    # Batch normalisation is computed in 32 bits.
    assert torch.float32 in {weight.dtype for weight in weights if weight.ndim == 1}


@needs_bf16(EngineName.TORCH)
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, while it decomposes
@pytest.mark.parametrize("kind", ["decomposed", "64 bits"])
def test_bf16_leaves_alone_what_torch_does_not_compute_in_it(kind, tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(64, 2)
    )
    images = torch.rand(2, 3, 6, 6)
    if kind == "64 bits":
        network, images = network.double(), images.double()
    program = trace_program(network.eval(), (images,))
    if kind == "decomposed":
        program = program.run_decompositions()
    write_program(tmp_path / "model.pt2", program)
    engine = load_foreign_engine(
        EngineName.TORCH, tmp_path / "model.pt2", precision=Precision.BF16, threads=1
    )
    (found,) = engine.run((images.numpy(),))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = program.module()(images)
    np.testing.assert_array_equal(found, expected.float() if kind == "decomposed" else expected)


REASONS = {
    EngineName.TENSORFLOW: "TensorFlow computes in the 32 bits that the SavedModel was saved with",
    EngineName.ONNXRUNTIME: "ONNX Runtime computes in f32 alone by CPUExecutionProvider",
}


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.F16])
@pytest.mark.parametrize("name", list(REASONS))
def test_an_engine_says_that_it_has_not_a_precision_and_takes_no_other(name, precision, results):
    with pytest.raises(EngineUnavailableError, match=REASONS[name]) as caught:
        load_engine(name, results.export_folder, precision=precision, threads=1)
    assert caught.value.where == f"{name} on cpu in {precision}"


@pytest.mark.parametrize("name", [*HALVED, *REASONS])
def test_no_engine_has_tf32_on_a_cpu(name, results):
    with pytest.raises(EngineUnavailableError, match="tf32 is arithmetic of NVIDIA GPUs"):
        load_engine(name, results.export_folder, precision=Precision.TF32, threads=1)


@pytest.mark.parametrize(("precision", "capability"), [("bf16", "BF16"), ("f16", "FP16")])
def test_openvino_is_not_asked_for_what_the_cpu_has_no_instructions_for(
    precision, capability, results, monkeypatch
):
    others = [each for each in cpu_capabilities() if each != capability]
    monkeypatch.setattr(openvino_engine, "cpu_capabilities", lambda: others)
    with pytest.raises(
        EngineUnavailableError, match=f"this CPU has no instructions for {precision}"
    ):
        load_engine(
            EngineName.OPENVINO, results.export_folder, precision=Precision(precision), threads=1
        )


@pytest.mark.skipif("FP16" in cpu_capabilities(), reason="this CPU computes in f16")
def test_openvino_left_to_itself_would_not_compute_in_the_f16_that_it_is_told(results):
    """Why it is refused: it takes what it has, without a word."""
    import openvino

    with openvino_engine.signal_stack_kept():
        core = openvino.Core()
        model = core.read_model(results.export_folder / "onnx" / "model.onnx")
        told = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f16"})
    assert told.get_property("INFERENCE_PRECISION_HINT").to_string() != "f16"
    assert Precision.F16 not in engine_status(EngineName.OPENVINO, Device.CPU).precisions


@pytest.mark.parametrize(("precision", "name"), [("bf16", "bf16"), ("f16", "fp16")])
@pytest.mark.parametrize("engine", [EngineName.TORCH, EngineName.TORCHSCRIPT])
def test_torch_has_on_a_cpu_what_onednn_has(engine, precision, name, monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda has=has: has)
        assert (Precision(precision) in engine_status(engine, Device.CPU).precisions) is has


@pytest.mark.parametrize(
    ("precision", "capability", "reason"),
    [
        ("tf32", (7, 5), "this GPU is older than Ampere, the first with tf32"),
        ("bf16", (7, 0), "this GPU is older than Ampere, the first with bf16"),
        ("f16", (7, 0), ""),
        ("tf32", (8, 0), ""),
        ("bf16", (9, 0), ""),
        ("tf32", (12, 0), ""),
    ],
)
def test_a_gpu_has_tf32_and_bf16_from_ampere_on(precision, capability, reason):
    assert gpu_lacks(Precision(precision), capability) == reason


def test_torch_is_set_to_the_arithmetic_of_the_engine_at_every_call(results, patches):
    path, description = open_model(results.export_folder / FORMATS[EngineName.TORCH])
    options = {"device": Device.CPU, "threads": 1}
    rounded = TorchEngine(path, description, precision=Precision.TF32, **options)
    exact = TorchEngine(path, description, precision=Precision.F32, **options)
    for engine, expected in ((rounded, True), (exact, False), (rounded, True), (exact, False)):
        engine.infer(patches[:1])
        flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        assert flags == (expected, expected)


@pytest.mark.parametrize("allowed", [True, False])
def test_convolutions_of_torchscript_round_as_they_are_told_not_as_they_were_traced(
    allowed, results, patches
):
    path, _ = open_model(results.export_folder / FORMATS[EngineName.TORCHSCRIPT])
    with torch_jit_unheard():
        module = torch.jit.load(path)
        exact = torch.jit.load(path)(torch.from_numpy(patches))
        allow_tf32(module, allowed=not allowed)
        allow_tf32(module, allowed=allowed)
        answers = module(torch.from_numpy(patches))
        graph = torch.jit.last_executed_optimized_graph()
    convolutions = graph.findAllNodes("aten::_convolution")
    assert convolutions
    assert {list(node.inputs())[12].toIValue() for node in convolutions} == {allowed}
    # What other inputs were is what they are.
    assert torch.equal(answers, exact)


def test_tensorflow_is_set_to_the_arithmetic_of_the_engine_at_every_call(results, patches):
    from lamella.engines.tensorflow_engine import TensorFlowEngine, tf

    path, description = open_model(results.export_folder / FORMATS[EngineName.TENSORFLOW])
    options = {"device": Device.CPU, "threads": 1}
    rounded = TensorFlowEngine(path, description, precision=Precision.TF32, **options)
    exact = TensorFlowEngine(path, description, precision=Precision.F32, **options)
    for engine, expected in ((rounded, True), (exact, False)):
        engine.infer(patches[:1])
        assert tf.config.experimental.tensor_float_32_execution_enabled() is expected


@pytest.mark.parametrize(
    ("name", "precision", "told"),
    [
        (EngineName.ONNXRUNTIME, "f32", {"use_tf32": "0"}),
        (EngineName.ONNXRUNTIME, "tf32", {"use_tf32": "1"}),
        (EngineName.ONNXRUNTIME_TENSORRT, "f32", {"trt_fp16_enable": "0"}),
        (EngineName.ONNXRUNTIME_TENSORRT, "f16", {"trt_fp16_enable": "1"}),
    ],
)
def test_onnxruntime_tells_its_provider_the_precision(name, precision, told, gpu, results):
    load_engine(
        name,
        results.export_folder,
        device=Device.CUDA,
        precision=Precision(precision),
        threads=1,
    )
    assert gpu["provider_options"] == [told]


@pytest.mark.parametrize(
    ("name", "precision", "reason"),
    [
        (EngineName.ONNXRUNTIME, "f16", "computes in f32 and tf32 by CUDAExecutionProvider"),
        (EngineName.ONNXRUNTIME_TENSORRT, "bf16", "in f32 and f16 by TensorrtExecutionProvider"),
    ],
)
def test_onnxruntime_says_what_a_provider_computes_in(name, precision, reason, gpu, results):
    with pytest.raises(EngineUnavailableError, match=reason):
        load_engine(
            name,
            results.export_folder,
            device=Device.CUDA,
            precision=Precision(precision),
            threads=1,
        )
    assert gpu == {}


@pytest.fixture
def gpu(monkeypatch):
    """ONNX Runtime on a machine with an Ampere GPU, up to the session; what this one is told."""
    told = {}

    class Session:
        def __init__(self, path, options, **given):
            told.update(given)

        def get_providers(self):
            return told["providers"]

        def get_inputs(self):
            return [SimpleNamespace(name="patches", type="tensor(uint8)", shape=["n", 48, 48, 3])]

        def get_outputs(self):
            return [SimpleNamespace(name="probabilities", type="tensor(float)", shape=["n", 2])]

    library = onnxruntime_engine.onnxruntime
    providers = ["CUDAExecutionProvider", "TensorrtExecutionProvider"]
    monkeypatch.setattr(library, "InferenceSession", Session)
    monkeypatch.setattr(library, "get_available_providers", lambda: providers)
    monkeypatch.setattr(library, "preload_dlls", lambda **_: None)
    monkeypatch.setattr(onnxruntime_engine.ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr(onnxruntime_engine, "first_gpu", lambda: Gpu("NVIDIA A100", (8, 0)))
    return told


class Ranked(torch.nn.Module):
    """Two outputs of two types."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(64, 5)

    def forward(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.layer(numbers)
        return scores, scores.argmax(dim=1)


@needs_bf16(EngineName.TORCH)
def test_a_model_from_elsewhere_keeps_the_types_of_its_outputs_in_bf16(tmp_path):
    write_program(tmp_path / "model.pt2", trace_program(Ranked(), (torch.zeros(2, 64),)))
    engine = load_foreign_engine(
        EngineName.TORCH, tmp_path / "model.pt2", precision=Precision.BF16, threads=1
    )
    numbers = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)
    scores, places = engine.run((numbers,))
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)
    with torch.no_grad():
        exact, _ = Ranked()(torch.from_numpy(numbers))
    assert 1e-4 < np.abs(scores - exact.numpy()).max() < 0.05
    # 8 significant bits: in their own type of 16 bits they are the same.
    assert torch.equal(torch.from_numpy(scores).bfloat16().float(), torch.from_numpy(scores))


def test_each_precision_has_a_limit_of_its_own():
    limits = ParityLimits(bf16=0.2)
    assert [limits.of(each) for each in Precision] == [1e-4, 0.01, 0.2, 0.01]

"""The contract that every engine keeps."""

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lamella.engines.available import engine_status, list_engines
from lamella.engines.engine import infer_filled
from lamella.engines.gpu import Gpu
from lamella.engines.load import engine_version, load_engine
from lamella.engines.openvino_engine import signal_stack_kept
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError, StoreError
from lamella.export.description import (
    ModelFormat,
    model_digest,
    model_files,
    read_description,
    write_description,
)
from lamella.settings import Device
from lamella.training.checkpoint import load_trained

ELSEWHERE = (
    *(EngineName.ONNXRUNTIME_OPENVINO, EngineName.ONNXRUNTIME_TENSORRT),
    *(EngineName.TENSORRT, EngineName.TENSORRT_RTX),
)
"""Engines that need another build of ONNX Runtime, or a GPU."""

HERE = tuple(
    name
    for name in EngineName
    if name not in ELSEWHERE or engine_status(name, Device.CPU).reason is None
)


HALVED = (
    EngineName.TORCH,
    EngineName.TORCH_COMPILED,
    EngineName.TORCHSCRIPT,
    EngineName.OPENVINO,
)
"""Engines that compute in bf16 on a CPU that can."""


def needs_bf16(name):
    return pytest.mark.skipif(
        Precision.BF16 not in engine_status(name, Device.CPU).precisions,
        reason=f"{name} does not compute in bf16 on this CPU",
    )


CHOICES = [
    *(pytest.param((name, Precision.F32), id=f"{name}-f32") for name in HERE),
    *(
        pytest.param((name, Precision.BF16), id=f"{name}-bf16", marks=needs_bf16(name))
        for name in HALVED
    ),
]

# The network of the tests has random weights, which make more of a rounding than learned ones do,
# and the patches are noise, of which it is most unsure.
NEAR = {Precision.F32: 1e-4, Precision.BF16: 0.2}
"""How near answers are to the trained network's."""

ALIKE = {Precision.F32: 1e-5, Precision.BF16: 0.05}
"""How near answers are that come from other kernels."""


@pytest.fixture(scope="module", params=CHOICES)
def engine(request, results):
    name, precision = request.param
    return load_engine(
        name, results.export_folder, device=Device.CPU, precision=precision, threads=1
    )


@pytest.fixture(scope="module")
def reference(results):
    """The trained network itself, from uint8 patches to probabilities."""
    network = load_trained(results.metrics[1]).inference()

    def answer(patches):
        with torch.no_grad():
            return network(torch.from_numpy(patches)).numpy()

    return answer


def patches_of(n: int, *, seed: int = 0) -> np.ndarray:
    """Noise that is brighter at the right and redder at the top."""
    patches = np.random.default_rng(seed).integers(0, 120, (n, 48, 48, 3), dtype=np.uint8)
    patches += np.linspace(0, 100, 48, dtype=np.uint8)[None, None, :, None]
    patches[:, :16, :, 0] += 30
    return patches


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_answers_are_those_of_the_trained_network(engine, reference, n):
    patches = patches_of(n, seed=n)
    answers = engine.infer(patches)
    assert (answers.shape, answers.dtype) == ((n, 2), np.float32)
    np.testing.assert_allclose(answers, reference(patches), rtol=0, atol=NEAR[engine.precision])


def test_answers_depend_on_the_patch(engine):
    """Else the test above could pass with a network that always says the same."""
    assert np.ptp(engine.infer(patches_of(16))[:, 1]) > 0.01


def test_answers_depend_on_the_order_of_rows_columns_and_channels(engine):
    patches = patches_of(4)
    answers = engine.infer(patches)
    for turned in (patches.transpose(0, 2, 1, 3), patches[..., ::-1], patches[:, ::-1]):
        assert np.abs(engine.infer(turned) - answers).max() > 1e-3


def test_an_empty_batch_gives_no_rows(engine):
    answers = engine.infer(patches_of(0))
    assert (answers.shape, answers.dtype) == ((0, 2), np.float32)


def test_a_batch_of_another_size_after_the_first_is_answered_alike(engine):
    patches = patches_of(9)
    together = engine.infer(patches)
    apart = np.concatenate([engine.infer(patches[:5]), engine.infer(patches[5:])])
    np.testing.assert_allclose(apart, together, rtol=0, atol=ALIKE[engine.precision])


def test_last_batch_is_filled_up_on_gpus_alone(results, monkeypatch):
    engine = load_engine(EngineName.ONNXRUNTIME, results.export_folder, threads=1)
    run, lengths = engine._run, []

    def counted(inputs):
        lengths.append(len(inputs[0]))
        return run(inputs)

    monkeypatch.setattr(engine, "_run", counted)
    patches = patches_of(3)
    expected = infer_filled(engine, patches, 8)
    # What it is asked on a GPU is seen here, too; it goes on computing on the CPU.
    monkeypatch.setattr(engine, "device", Device.CUDA)
    np.testing.assert_allclose(infer_filled(engine, patches, 8), expected, rtol=0, atol=1e-5)
    assert lengths == [3, 8]
    assert [len(infer_filled(engine, patches[:n], 2)) for n in (3, 2, 0)] == [3, 2, 0]
    assert lengths == [3, 8, 3, 2]


def test_repeated_calls_give_identical_answers(engine):
    patches = patches_of(3)
    assert engine.infer(patches).tobytes() == engine.infer(patches).tobytes()


def test_a_later_call_does_not_change_earlier_answers(engine):
    first = engine.infer(patches_of(4, seed=1))
    kept = first.copy()
    engine.infer(patches_of(4, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_the_patches_are_not_changed_and_may_be_read_only(engine):
    patches = patches_of(3)
    before = patches.copy()
    patches.setflags(write=False)
    engine.infer(patches)
    np.testing.assert_array_equal(patches, before)


def test_a_strided_view_is_answered_like_its_copy(engine):
    view = patches_of(8)[::2]
    np.testing.assert_array_equal(engine.infer(view), engine.infer(view.copy()))


def test_another_type_is_refused(engine):
    with pytest.raises(TypeError, match="patches must be uint8; these are float32"):
        engine.infer(patches_of(2).astype(np.float32))


@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (2, 48, 47, 3), (48, 48, 3)])
def test_another_shape_is_refused(engine, shape):
    with pytest.raises(ValueError, match=r"takes patches of shape \(n, 48, 48, 3\), not"):
        engine.infer(np.zeros(shape, dtype=np.uint8))


def test_the_engine_says_which_it_is(engine):
    assert engine.name in EngineName
    assert engine.description.classes == ("normal", "tumor")


def test_the_time_of_building_is_told_where_the_library_builds_apart_from_reading(engine):
    builds = engine.name in {EngineName.TORCH_COMPILED, EngineName.OPENVINO}
    assert (engine.build_ms or 0) > 1 if builds else engine.build_ms is None


@pytest.mark.parametrize(("batch_sizes", "compiled"), [((1,), 1), ((16,), 1), ((1, 16), 2)])
def test_torch_compiles_what_is_asked_for_when_it_is_loaded(results, batch_sizes, compiled):
    def graphs():
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    torch._dynamo.reset()
    before = graphs()
    engine = load_engine(
        EngineName.TORCH_COMPILED, results.export_folder, threads=1, batch_sizes=batch_sizes
    )
    assert graphs() - before == compiled
    for size in batch_sizes:
        assert engine.infer(patches_of(size)).shape == (size, 2)
    assert graphs() - before == compiled


@pytest.mark.parametrize("name", HERE)
def test_a_missing_export_is_refused(name, tmp_path):
    with pytest.raises(StoreError, match="the description of the model cannot be read"):
        load_engine(name, tmp_path, device=Device.CPU, threads=1)


@pytest.mark.parametrize(
    ("name", "module", "library"),
    [
        (EngineName.TORCH, "torch_engine", "torch"),
        (EngineName.TORCHSCRIPT, "torchscript_engine", "torch"),
        (EngineName.TENSORFLOW, "tensorflow_engine", "tensorflow"),
        (EngineName.ONNXRUNTIME, "onnxruntime_engine", "onnxruntime"),
        (EngineName.OPENVINO, "openvino_engine", "openvino"),
        (EngineName.TENSORRT, "tensorrt_engine", "tensorrt"),
        (EngineName.TENSORRT_RTX, "tensorrt_rtx_engine", "tensorrt_rtx_bindings"),
    ],
)
def test_an_absent_library_is_named(name, module, library, monkeypatch):
    monkeypatch.delitem(sys.modules, f"lamella.engines.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EngineUnavailableError, match=f"cannot be imported.*{library}"):
        engine_version(name, Device.CPU)


def test_every_engine_is_listed_on_every_device_with_version_or_reason():
    statuses = list_engines()
    assert [(each.name, each.device) for each in statuses] == [
        (name, device) for name in EngineName for device in Device
    ]
    assert all((each.version is None) != (each.reason is None) for each in statuses)
    on_cpu = {each.name: each for each in statuses if each.device is Device.CPU and each.version}
    assert list(on_cpu) == list(HERE)
    for name, status in on_cpu.items():
        assert status.precisions[0] is Precision.F32
        assert Precision.TF32 not in status.precisions
        assert name in HALVED or status.precisions == (Precision.F32,)
    assert not any(each.precisions for each in statuses if each.version is None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (EngineName.ONNXRUNTIME_OPENVINO, "this build has no OpenVINOExecutionProvider"),
        (EngineName.ONNXRUNTIME_TENSORRT, "its provider does not compute there"),
    ],
)
def test_a_provider_that_is_not_here_is_named_and_the_cpu_is_not_taken_instead(
    name, reason, results
):
    if name in HERE:
        pytest.skip("this build has it")
    with pytest.raises(EngineUnavailableError, match=reason):
        load_engine(name, results.export_folder, device=Device.CPU, threads=1)


def test_openvino_has_no_nvidia_gpu_and_does_not_take_the_cpu_instead(results):
    with pytest.raises(EngineUnavailableError, match="does not run on NVIDIA GPUs"):
        load_engine(EngineName.OPENVINO, results.export_folder, device=Device.CUDA, threads=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what is said without an NVIDIA GPU")
@pytest.mark.parametrize("name", list(EngineName))
def test_without_a_gpu_every_engine_says_why_it_cannot_use_one(name, results):
    status = engine_status(name, Device.CUDA)
    assert status.version is None
    assert status.reason
    with pytest.raises(EngineUnavailableError, match=rf"^{name}( on cuda)?: "):
        load_engine(name, results.export_folder, device=Device.CUDA, threads=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="takes the driver away")
def test_a_driver_without_a_gpu_is_told_by_every_engine(tmp_path):
    """As on the login node of a cluster, or in a job that asked for no GPU."""
    (tmp_path / "driver.c").write_text(
        "int cuInit(unsigned flags) { return 100; }\n"
        "int cuDriverGetVersion(int *found) { *found = 13000; return 0; }\n"
        "int cuDeviceGetCount(int *found) { *found = 0; return 3; }\n"
        "int cuTensorMapEncodeTiled(void) { return 100; }\n"
    )
    library = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so.1", "driver.c"]
    subprocess.run(["gcc", *library], check=True, cwd=tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", "from lamella.cli import main; main(['engines'])"],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = {tuple(line.split()[:2]): line for line in ended.stdout.splitlines()}
    for name in (EngineName.ONNXRUNTIME, EngineName.TENSORFLOW, EngineName.TENSORRT_RTX):
        assert "(no CUDA-capable device is detected)" in lines[str(name), "cuda"]
    assert "(No CUDA GPUs are available)" in lines["torch", "cuda"]


def test_a_gpu_that_torch_was_not_built_for_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a", "compute_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    with pytest.raises(EngineUnavailableError, match=r"compute capability 7\.0, .* begins at 7\.5"):
        engine_version(EngineName.TORCH, Device.CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert engine_version(EngineName.TORCH, Device.CUDA) == torch.__version__


def test_fewer_threads_than_asked_for_are_told(results, caplog):
    load_engine(EngineName.OPENVINO, results.export_folder, threads=1)
    assert not caplog.text
    load_engine(EngineName.OPENVINO, results.export_folder, threads=1000)
    assert re.search(r"OpenVINO computes with \d+ threads, not 1000", caplog.text)


def test_the_number_of_threads_is_the_one_asked_for(results):
    from lamella.engines.openvino_engine import OpenVinoEngine

    engine = load_engine(EngineName.OPENVINO, results.export_folder, threads=1)
    assert isinstance(engine, OpenVinoEngine)
    compiled = engine._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"

    onnx = load_engine(EngineName.ONNXRUNTIME, results.export_folder, threads=2)
    options = onnx._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)

    before = torch.get_num_threads()
    try:
        load_engine(EngineName.TORCH, results.export_folder, threads=2).infer(patches_of(1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_torch_computes_in_f32_on_gpus_too(results):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    load_engine(EngineName.TORCH, results.export_folder, threads=1)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def told(monkeypatch):
    """What a session of ONNX Runtime is given; a session does not tell its options."""
    from lamella.engines import onnxruntime_engine

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
    monkeypatch.setattr(library, "InferenceSession", Session)
    providers = ["OpenVINOExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr(library, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime_engine, "first_gpu", lambda: Gpu("NVIDIA A100", (8, 0)))
    return told


def test_openvino_within_onnxruntime_is_told_to_compute_in_f32_with_as_many_threads(results, told):
    load_engine(EngineName.ONNXRUNTIME_OPENVINO, results.export_folder, threads=1)
    assert told["providers"] == ["OpenVINOExecutionProvider"]
    # It takes all CPUs and, where they can, bfloat16 unless told otherwise.
    assert told["provider_options"] == [
        {"device_type": "CPU", "precision": "FP32", "num_of_threads": "1"}
    ]


def test_onnxruntime_is_told_to_compute_in_f32_on_gpus_with_the_libraries_that_are_installed(
    results, told, monkeypatch
):
    from lamella.engines import onnxruntime_engine

    done = []
    library = onnxruntime_engine.onnxruntime
    monkeypatch.setattr(library, "preload_dlls", lambda **_: done.append("preloaded"))
    monkeypatch.setattr(onnxruntime_engine.ctypes, "CDLL", lambda _: done.append("asked"))
    load_engine(EngineName.ONNXRUNTIME, results.export_folder, device=Device.CUDA, threads=1)
    assert told["providers"] == ["CUDAExecutionProvider"]
    assert told["provider_options"] == [{"use_tf32": "0"}]
    # Else it would go on on the CPU where the GPU fails.
    assert told["enable_fallback"] == 0
    assert done == ["preloaded", "asked", "asked"]


def test_where_torch_cannot_compile_its_compiled_programs_are_unavailable(monkeypatch):
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("no-such-compiler",)}):
        compiled, plain = (
            engine_status(name, Device.CPU)
            for name in (EngineName.TORCH_COMPILED, EngineName.TORCH)
        )
    assert compiled.reason.startswith("torch cannot compile (No working C++ compiler found in ")
    assert compiled.reason.endswith("no-such-compiler',))")
    assert plain.reason is None
    monkeypatch.setattr("lamella.engines.torch_engine._why_no_gpu", lambda: "")
    assert engine_version(EngineName.TORCH_COMPILED, Device.CUDA)
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(
        EngineUnavailableError, match=r"torch cannot compile \(there is no triton\)"
    ):
        engine_version(EngineName.TORCH_COMPILED, Device.CUDA)


@needs_bf16(EngineName.OPENVINO)
def test_openvino_left_to_itself_computes_in_bfloat16_and_leaves_the_limit(results, reference):
    import openvino

    with signal_stack_kept():
        core = openvino.Core()
        model = core.read_model(results.export_folder / "onnx" / "model.onnx")
        left_alone = core.compile_model(model, "CPU")
    assert left_alone.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"
    patches = patches_of(64)
    ours = load_engine(EngineName.OPENVINO, results.export_folder, threads=1)
    expected = reference(patches)
    assert np.abs(left_alone(patches)[0] - expected).max() > 1e-4
    assert np.abs(ours.infer(patches) - expected).max() < 1e-5


def test_an_engine_imports_no_other_engine_and_no_tracking(results):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lamella.engines.load import load_engine\n"
        "from lamella.engines.settings import EngineName\n"
        f"load_engine(EngineName.ONNXRUNTIME, Path({str(results.export_folder)!r}), threads=1)\n"
        "heavy = {'torch', 'openvino', 'mlflow', 'tensorflow', 'timm'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_of_another_digest_is_not_loaded(results, tmp_path):
    folder = shutil.copytree(results.export_folder, tmp_path / "tiny")
    (folder / "onnx" / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match="damaged"):
        load_engine(EngineName.ONNXRUNTIME, folder, threads=1)


@pytest.mark.parametrize("name", HERE)
def test_a_model_that_the_library_cannot_load_makes_the_engine_unavailable(name, undescribed):
    with pytest.raises(EngineUnavailableError, match=rf"{name} on cpu: it cannot load the model"):
        load_engine(name, undescribed, threads=1)


@pytest.fixture
def undescribed(results, tmp_path):
    """Models that are no models, with descriptions that say they are."""
    folder = shutil.copytree(results.export_folder, tmp_path / "tiny")
    for kind in ModelFormat:
        description = read_description(folder / kind)
        files = model_files(folder / kind, kind)
        for file in files:
            (folder / kind / file).write_bytes(b"nonsense")
        described = description.model_copy(update={"digest": model_digest(folder / kind, files)})
        write_description(folder / kind, described)
    return folder


def test_a_signal_is_handled_after_openvino_has_let_its_models_go(results):
    program = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from lamella.engines.load import load_engine\n"
        "from lamella.engines.settings import EngineName\n"
        "from lamella.settings import Device\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))\n"
        "def load():\n"
        "    folder = Path(sys.argv[1])\n"
        "    return load_engine(EngineName.OPENVINO, folder, device=Device.CPU, threads=1)\n"
        "first, second = load(), load()\n"
        "del first, second\n"
        "signal.raise_signal(signal.SIGUSR1)\n"
    )
    command = [sys.executable, "-c", program, str(results.export_folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


def test_torch_is_refused_after_tensorflow_instead_of_crashing(results):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lamella.engines.load import load_engine\n"
        "from lamella.engines.settings import EngineName\n"
        "load_engine(EngineName.TENSORFLOW, Path(sys.argv[1]), threads=1)\n"
        "print('torch' in sys.modules)\n"
        "load_engine(EngineName.TORCH, Path(sys.argv[1]), threads=1)\n"
    )
    command = [sys.executable, "-c", program, str(results.export_folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "False\n"), ended.stderr
    assert "torch: torch crashes where TensorFlow was loaded before it. Load" in ended.stderr

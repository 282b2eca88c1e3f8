"""The engines on an NVIDIA GPU, in every precision that they have there."""

import numpy as np
import pytest
import torch

from lamella.benchmark.energy import find_meter
from lamella.benchmark.nvml import own_gpu_memory_mib
from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.load import FORMATS, engine_precisions, load_foreign_engine
from lamella.engines.settings import EngineName, ParityLimits, Precision
from lamella.errors import EngineUnavailableError
from lamella.export.description import MODEL_FILES, ModelFormat
from lamella.export.formats import write_formats
from lamella.export.program import trace_program
from lamella.settings import Device
from lamella.workloads.networks import INPUT, OUTPUT, workload_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here"),
    # What the compiler would have liked to do better.
    pytest.mark.filterwarnings(r"ignore:\s*Online softmax is disabled:UserWarning"),
]

ENGINES = (
    EngineName.TORCH,
    EngineName.TORCH_COMPILED,
    EngineName.TORCHSCRIPT,
    EngineName.ONNXRUNTIME,
    EngineName.TENSORRT,
    EngineName.TENSORRT_RTX,
)
FRAMES = np.random.default_rng(0).integers(0, 255, (3, 96, 128), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A U-Net in the formats of the engines, and its own answers on the CPU in f32."""
    folder = tmp_path_factory.mktemp("exported")
    made = workload_network(BenchmarkCase.ULTRASOUND, FRAMES, seed=0)
    program = trace_program(made.network, (torch.from_numpy(FRAMES[:2]),))
    formats = (ModelFormat.TORCH, ModelFormat.TORCHSCRIPT)
    write_formats(folder, program, formats, opset=18, inputs=[INPUT], outputs=[OUTPUT])
    with torch.inference_mode():
        return folder, made.interface, made.network(torch.from_numpy(FRAMES)).numpy()


def engine_of(name, precision, exported, batch_sizes=(1,)):
    folder, interface, _ = exported
    stored = FORMATS[name]
    try:
        if precision not in engine_precisions(name, Device.CUDA):
            pytest.skip(f"{name} has no {precision} on this GPU")
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    return load_foreign_engine(
        name,
        folder / stored / MODEL_FILES[stored],
        interface=interface,
        device=Device.CUDA,
        precision=precision,
        threads=2,
        batch_sizes=batch_sizes,
    )


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("name", ENGINES)
def test_answers_are_the_networks_within_the_limit_of_the_precision(name, precision, exported):
    engine = engine_of(name, precision, exported)
    answers = engine.infer(FRAMES)
    assert answers.dtype == np.float32
    difference = np.abs(answers - exported[2]).max()
    assert difference < ParityLimits().of(precision)
    # Fewer bits show: else the precision would have no effect.
    assert (difference > 2e-5) == (precision is not Precision.F32)
    # TorchScript joins operations after its first call, and rounds less often from then on.
    exact = precision is Precision.F32 and name is not EngineName.TORCHSCRIPT
    again = 0 if exact else ParityLimits().of(precision)
    np.testing.assert_allclose(engine.infer(FRAMES), answers, rtol=0, atol=again)
    # From the third call on, what was recorded at the second is started anew: with other frames.
    kept = answers.copy()
    for _ in range(2):
        backwards = engine.infer(FRAMES[::-1])
        assert np.abs(backwards - exported[2][::-1]).max() < ParityLimits().of(precision)
    np.testing.assert_array_equal(answers, kept)


@pytest.mark.parametrize("name", [EngineName.TENSORRT, EngineName.TENSORRT_RTX])
def test_answers_of_a_plan_do_not_depend_on_how_a_batch_is_cut(name, exported):
    engine = engine_of(name, Precision.F32, exported, batch_sizes=(1, 2))
    plans = (exported[0] / FORMATS[name] / "plans").glob(f"{name}_[0-9]*_f32_1-2_*.plan")
    assert len(list(plans)) == 1
    for rows in (1, 2, 3):
        answers = engine.infer(FRAMES[:rows])
        assert np.abs(answers - exported[2][:rows]).max() < ParityLimits().f32


@pytest.mark.parametrize("name", ENGINES[:3])
def test_torch_computes_on_the_gpu(name, exported):
    engine = engine_of(name, Precision.F32, exported)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    engine.infer(FRAMES)
    # At least the 16 channels of the finest scale.
    assert torch.cuda.max_memory_allocated() - before > FRAMES.size * 16 * 4


def test_torch_has_all_precisions_on_a_gpu_of_today():
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("a GPU before Ampere")
    assert engine_precisions(EngineName.TORCH, Device.CUDA) == tuple(Precision)


def test_energy_of_the_gpu_is_read_and_work_takes_more_than_nothing():
    meter, source = find_meter(Device.CUDA)
    assert meter is not None, source
    assert source.startswith("NVML GPU-")
    matrix = torch.rand(4096, 4096, device="cuda")
    start = meter.joules
    for _ in range(200):
        matrix = matrix @ matrix / 2048
    torch.cuda.synchronize()
    meter.tick()
    assert meter.joules - start > 1


def test_memory_of_this_process_on_the_gpu_holds_its_arrays():
    kept = torch.zeros(256 * 2**20, dtype=torch.uint8, device="cuda")
    memory_mib = own_gpu_memory_mib()
    if memory_mib is None:
        pytest.skip("NVML does not know this process, as in a container")
    assert memory_mib > len(kept) / 2**20

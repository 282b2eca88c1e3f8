import os
from pathlib import Path

import pytest
import torch
import torch._inductor.config
from torch import nn

from lamella.datasets.batches import Batch
from lamella.errors import TrainingError
from lamella.models.preprocess import Preprocessing
from lamella.settings import Device
from lamella.training.device import check_device
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.torch_arithmetic import compiled, prepare_arithmetic
from lamella.training.torch_step import backward

# torch warns of its own old code when its compiler is first loaded.
COMPILER = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (7, 24, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    return Batch(torch.arange(7).numpy(), images.numpy(), labels.numpy(), 7)


def network_of_groups() -> nn.Module:
    """Return a network that does not look at other samples, in double precision."""
    torch.manual_seed(1)
    convolution = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.GroupNorm(2, 6), nn.ReLU())
    return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def gradients(network: nn.Module, batch: Batch, parts: int, **settings) -> tuple[float, list]:
    arithmetic = prepare_arithmetic(RunSettings(**settings), Device.CPU, gpu=0)
    network.zero_grad()
    preprocessing = Preprocessing().to(next(network.parameters()).dtype)
    loss = backward(network, preprocessing, batch, arithmetic, ranks=1, parts=parts)
    return loss, [weight.grad.clone() for weight in network.parameters()]


def test_gradient_of_parts_is_that_of_the_whole_batch_without_batch_normalisation(batch):
    network = network_of_groups().double()
    loss, whole = gradients(network, batch, parts=1)
    in_parts, found = gradients(network, batch, parts=3)
    assert in_parts == pytest.approx(loss, rel=1e-12)
    for each, expected in zip(found, whole, strict=True):
        torch.testing.assert_close(each, expected, rtol=1e-10, atol=1e-14)


def test_bfloat16_rounds_what_the_network_computes_and_keeps_weights_in_float32(batch):
    network = network_of_groups()
    exact, whole = gradients(network, batch, parts=1)
    rounded, found = gradients(network, batch, parts=1, precision="bfloat16")
    assert rounded != exact
    # Eight bits of a number are kept.
    assert rounded == pytest.approx(exact, rel=2**-6)
    assert {each.dtype for each in found} == {torch.float32}
    assert not torch.equal(found[0], whole[0])


@COMPILER
def test_compiled_network_learns_the_same(batch):
    network = network_of_groups()
    learner = compiled(network, torch.device("cpu"))
    arithmetic = prepare_arithmetic(RunSettings(), Device.CPU, gpu=0)
    found = {}
    for name, each in (("plain", network), ("compiled", learner)):
        network.zero_grad()
        loss = backward(each, Preprocessing(), batch, arithmetic, ranks=1)
        found[name] = loss, network[-1].weight.grad.clone()
    assert found["compiled"][0] == pytest.approx(found["plain"][0], rel=1e-5)
    torch.testing.assert_close(found["compiled"][1], found["plain"][1], rtol=1e-3, atol=1e-5)


@COMPILER
def test_without_a_compiler_compiling_is_refused(monkeypatch, tmp_path):
    # What was compiled before would be found there.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    # Not by monkeypatch, which would delete the setting when it takes its change back.
    with (
        torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "no-compiler"),)}),
        pytest.raises(TrainingError, match=r"torch\.compile does not work here .*compile: false"),
    ):
        compiled(nn.Linear(2, 2), torch.device("cpu"))
    # Code for other processors would be found in the folder itself.
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == tmp_path


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_an_error():
    with pytest.raises(TrainingError, match="1 GPUs are needed, torch can use 0 here"):
        check_device(RunSettings(), TrainingSettings(device="cuda"))
    check_device(RunSettings(), TrainingSettings())

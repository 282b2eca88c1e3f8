"""The networks of the workloads."""

import numpy as np
import pytest
import torch

from lamella.benchmark.settings import BenchmarkCase
from lamella.models.settle import settle
from lamella.models.unet import UNet
from lamella.workloads import networks
from lamella.workloads.networks import workload_network


def images_of(case, n=2):
    shape, kind, high = {
        BenchmarkCase.ULTRASOUND: ((48, 64), np.uint8, 255),
        BenchmarkCase.CT: ((16, 32, 48), np.int16, 400),
        BenchmarkCase.WSI: ((80, 96, 3), np.uint8, 255),
    }[case]
    return np.random.default_rng(0).integers(0, high, (n, *shape)).astype(kind)


@pytest.mark.parametrize(
    ("case", "parameters", "answers"),
    [
        (BenchmarkCase.ULTRASOUND, 1_942_323, (48, 64, 3)),
        (BenchmarkCase.CT, 5_646_402, (16, 32, 48, 2)),
        (BenchmarkCase.WSI, 21_916_964, (4,)),
    ],
)
def test_networks_are_as_large_as_the_papers_and_answer_with_probabilities(
    case, parameters, answers
):
    images = images_of(case)
    made = workload_network(case, images, seed=0)
    assert made.parameters == parameters
    assert made.interface.inputs[0].shape == (-1, *images.shape[1:])
    assert made.interface.outputs[0].shape == (-1, *answers)
    with torch.inference_mode():
        found = made.network(torch.from_numpy(images)).numpy()
    assert found.shape == (2, *answers)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    # Neither all alike nor decided beyond doubt.
    assert 0.02 < found.std() < 0.45


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        (BenchmarkCase.ULTRASOUND, (48, 64)),
        (BenchmarkCase.CT, (16, 32, 48)),
        (BenchmarkCase.WSI, (299, 299, 3)),
    ],
)
def test_layers_make_less_of_a_rounding_than_as_they_are_drawn(case, shape, monkeypatch):
    images = np.random.default_rng(0).integers(0, 255, (8, *shape))
    # Dark ones and bright ones: else they would differ by noise alone.
    images = (images * np.linspace(0.25, 1, 8).reshape(-1, *[1] * len(shape))).astype(np.uint8)
    offset = rounding(case, images)
    monkeypatch.setattr(networks, "_OFFSET", 0.0)
    assert 1e-3 < offset < rounding(case, images) / 2


def rounding(case, images):
    """Return the largest difference of a probability that computing in bfloat16 makes."""
    network, images = workload_network(case, images, seed=0).network, torch.from_numpy(images)
    with torch.inference_mode():
        expected = network(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(images).float()
    return (rounded - expected).abs().max()


def test_weights_are_those_of_the_seed_and_the_global_generator_is_left_alone():
    images = images_of(BenchmarkCase.ULTRASOUND)
    before = torch.get_rng_state()
    first, same, other = (
        torch.cat(
            [
                each.flatten()
                for each in workload_network(
                    BenchmarkCase.ULTRASOUND, images, seed
                ).network.parameters()
            ]
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_u_net_sees_at_every_pixel_what_is_around_it(dimensions):
    """Turned input, turned answer: rows and columns are not mixed up on the way."""
    torch.manual_seed(0)
    network = UNet(dimensions, channels=1, classes=2, widths=(4, 8, 16)).eval()
    for layer in network.modules():
        if isinstance(
            layer,
            torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d,
        ):
            weight = layer.weight.data
            # Kernels that are the same along rows and columns.
            layer.weight.data = (weight + weight.transpose(-1, -2)) / 2
    images = torch.rand(1, 1, *(8,) * (dimensions - 2), 16, 24)
    with torch.inference_mode():
        turned = network(images.transpose(-1, -2)).transpose(-1, -2)
        torch.testing.assert_close(network(images), turned)


def test_images_that_are_all_alike_settle_nothing():
    one = images_of(BenchmarkCase.WSI, n=1)
    with pytest.raises(ValueError, match="all alike"):
        workload_network(BenchmarkCase.WSI, np.concatenate([one, one]), seed=0)


def test_settled_network_has_logits_of_mean_0_and_deviation_1():
    torch.manual_seed(3)
    network, images = UNet(2, channels=1, classes=3, widths=(4, 8)), torch.rand(4, 1, 32, 40)
    settle(network, images)
    assert not network.training
    with torch.inference_mode():
        logits = network(images).movedim(1, 0).flatten(1)
    torch.testing.assert_close(logits.mean(dim=1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.std(dim=1), torch.ones(3), atol=1e-4, rtol=0)

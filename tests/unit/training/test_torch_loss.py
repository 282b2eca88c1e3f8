"""The losses that torch learns from are those by which networks are judged."""

import numpy as np
import pytest
import torch

from lamella.datasets.batches import Batch
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.losses import sample_losses
from lamella.models.activation import OutputActivation
from lamella.models.preprocess import Preprocessing
from lamella.settings import Device
from lamella.training.settings import RunSettings
from lamella.training.torch_arithmetic import prepare_arithmetic
from lamella.training.torch_loss import sum_of_losses
from lamella.training.torch_step import backward

NAN = np.nan
LABELS = np.array([[1, 0, NAN], [0, NAN, NAN], [1, 1, 0], [NAN, 0, 1], [0, 1, 1]], np.float32)
VALUES = np.array(
    [[41, NAN, 3], [77, 0.001, NAN], [NAN, 0.004, 1], [50, NAN, NAN], [60, 0.002, 2]], np.float32
)
NAMES = ("a", "b", "c")
TARGETS = {
    TargetKind.CLASSES: Targets(TargetKind.CLASSES, NAMES, np.array([0, 2, 1, 1, 0])),
    TargetKind.MULTI_LABEL: Targets(TargetKind.MULTI_LABEL, NAMES, LABELS),
    TargetKind.REGRESSION: Targets(TargetKind.REGRESSION, NAMES, VALUES, Scale.of(VALUES)),
}
KINDS = pytest.mark.parametrize("kind", list(TargetKind))


def raw_outputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, 3, generator=generator, dtype=torch.float64)


@KINDS
def test_loss_is_the_one_that_networks_are_judged_by(kind):
    targets, outputs = TARGETS[kind], raw_outputs()
    loss = sum_of_losses(outputs, torch.from_numpy(targets.learned), kind)
    answers = OutputActivation(kind, targets.scale)(outputs).numpy()
    assert loss.item() == pytest.approx(sample_losses(targets, answers).sum(), rel=1e-6)


@KINDS
def test_gradient_is_the_slope_of_the_loss_and_0_where_nothing_is_known(kind):
    learned, outputs = torch.from_numpy(TARGETS[kind].learned), raw_outputs().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: sum_of_losses(each, learned, kind), outputs)
    sum_of_losses(outputs, learned, kind).backward()
    if kind is not TargetKind.CLASSES:
        assert torch.equal(outputs.grad == 0, torch.isnan(learned))


def test_losses_by_hand():
    outputs = torch.tensor([[0.0, 2.0], [1.0, 0.5]])
    labels = torch.tensor([[1.0, NAN], [0.0, NAN]])
    # log 2 and log(1 + e), each divided by the two columns.
    found = sum_of_losses(outputs, labels, TargetKind.MULTI_LABEL).item()
    assert found == pytest.approx((0.693147 + 1.313262) / 2, rel=1e-6)
    numbers = torch.tensor([[1.0, NAN], [NAN, 2.0]])
    assert sum_of_losses(outputs, numbers, TargetKind.REGRESSION).item() == (1.0 + 2.25) / 2


@pytest.mark.parametrize("kind", [TargetKind.MULTI_LABEL, TargetKind.REGRESSION])
def test_mean_of_uneven_ranks_and_parts_is_the_gradient_of_the_joint_batch(kind):
    torch.manual_seed(1)
    layers = torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 3)
    network = torch.nn.Sequential(*layers).double()
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (5, 4, 4, 3), dtype=torch.uint8, generator=generator).numpy()
    arithmetic = prepare_arithmetic(RunSettings(), Device.CPU, gpu=0)
    learned = TARGETS[kind].learned

    def gradient(rows: slice, ranks: int, parts: int) -> torch.Tensor:
        network.zero_grad()
        places = np.arange(5)[rows]
        batch = Batch(places, images[rows], learned[rows], joint_size=5)
        preprocessing = Preprocessing().double()
        backward(network, preprocessing, batch, arithmetic, ranks=ranks, parts=parts, kind=kind)
        return network[1].weight.grad.clone()

    joint = gradient(slice(0, 5), ranks=1, parts=1)
    of_ranks = [gradient(rows, ranks=2, parts=2) for rows in (slice(0, 3), slice(3, 5))]
    torch.testing.assert_close((of_ranks[0] + of_ranks[1]) / 2, joint, rtol=1e-9, atol=1e-12)

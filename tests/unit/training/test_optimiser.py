import math

import pytest
import torch
from torch import nn

from lamella.training.optimiser import build_optimiser, learning_rate, set_learning_rate
from lamella.training.settings import Optimiser, RunSettings


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [learning_rate(step, 10, highest=2.0, warmup_share=0.2) for step in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.0)
    assert rates[9] == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    assert sorted(rates[2:], reverse=True) == rates[2:]


def test_without_warm_up_the_first_step_has_the_highest_rate():
    assert learning_rate(0, 5, highest=0.3, warmup_share=0.0) == 0.3


@pytest.mark.parametrize(
    ("optimiser", "kind"), [(Optimiser.ADAMW, torch.optim.AdamW), (Optimiser.SGD, torch.optim.SGD)]
)
def test_only_weights_of_two_axes_or_more_decay(optimiser, kind):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    built = build_optimiser(network, RunSettings(optimiser=optimiser, weight_decay=0.3))
    assert isinstance(built, kind)
    decays = {
        tuple(weight.shape): group["weight_decay"]
        for group in built.param_groups
        for weight in group["params"]
    }
    assert decays == {(4, 3, 3, 3): 0.3, (4,): 0.0}
    set_learning_rate(built, 0.125)
    assert [group["lr"] for group in built.param_groups] == [0.125, 0.125]

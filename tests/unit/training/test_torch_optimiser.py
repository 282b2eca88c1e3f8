import math

import pytest
import torch
from torch import nn

from lamella.training.rate import learning_rate
from lamella.training.settings import RunSettings
from lamella.training.torch_optimiser import build_optimiser, set_learning_rate


def rates(steps_per_epoch: int = 2, processes: int = 1, **settings) -> list[float]:
    """Return the rates of five epochs."""
    run = RunSettings(**{"epochs": 5, "learning_rate": 2.0, "warmup_share": 0.2, **settings})
    steps = range(5 * steps_per_epoch)
    return [learning_rate(step, steps_per_epoch, run, processes=processes) for step in steps]


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine():
    found = rates()
    assert found[:3] == [1.0, 2.0, 2.0]
    assert found[6] == pytest.approx(1.0)
    assert found[9] == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    assert sorted(found[2:], reverse=True) == found[2:]


def test_without_warm_up_the_first_step_has_the_highest_rate():
    assert rates(warmup_share=0.0)[0] == 2.0


def test_exponential_decay_leaves_the_factor_after_its_epochs_counted_from_the_warm_up():
    found = rates(decay="exponential", decay_factor=0.25, decay_epochs=2)
    assert found[:2] == [1.0, 2.0]
    # A step is half an epoch, and a quarter of the time in which a quarter is left.
    expected = [2 * 0.25 ** (step / 4) for step in range(8)]
    assert found[2:] == pytest.approx(expected)
    assert found[6] == pytest.approx(0.5)


def test_step_decay_takes_the_factor_at_once():
    found = rates(decay="step", decay_factor=0.5, decay_epochs=1.5)
    assert found == [1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5, 0.5]


def test_step_decay_is_not_a_step_late_where_epochs_are_no_exact_number():
    # Five steps an epoch, the factor after each of them: 0.6 / 0.2 is a little less than 3.
    found = rates(5, decay="step", decay_factor=0.5, decay_epochs=0.2, warmup_share=0.0)
    assert found[:5] == [2.0, 1.0, 0.5, 0.25, 0.125]


def test_constant_rate_stays():
    assert rates(decay="constant") == [1.0] + [2.0] * 9


def test_rate_grows_with_the_joined_batch_only_where_asked():
    assert rates(processes=3, accumulate=4) == rates()
    scaled = rates(processes=3, accumulate=4, scale_learning_rate=True)
    assert scaled == pytest.approx([12 * rate for rate in rates()])


@pytest.mark.parametrize(
    ("optimiser", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_only_weights_of_two_axes_or_more_decay(optimiser, kind):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    built = build_optimiser(network, RunSettings(optimiser=optimiser, weight_decay=0.3))
    assert type(built) is kind
    decays = {
        tuple(weight.shape): group["weight_decay"]
        for group in built.param_groups
        for weight in group["params"]
    }
    assert decays == {(4, 3, 3, 3): 0.3, (4,): 0.0}
    set_learning_rate(built, 0.125)
    assert [group["lr"] for group in built.param_groups] == [0.125, 0.125]


def test_adamw_shrinks_weights_by_itself_and_adam_through_the_gradient():
    after = {}
    for optimiser in ("adamw", "adam"):
        network = nn.Linear(1, 1, bias=False)
        nn.init.constant_(network.weight, 2.0)
        run = RunSettings(optimiser=optimiser, weight_decay=0.25, learning_rate=0.01)
        network.weight.grad = torch.zeros(1, 1)
        build_optimiser(network, run).step()
        after[optimiser] = network.weight.item()
    # 2 - 0.01 * 0.25 * 2; and one step of Adam is the rate, whatever the gradient's size.
    assert after == pytest.approx({"adamw": 1.995, "adam": 1.99}, abs=1e-6)

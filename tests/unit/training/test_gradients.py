"""Two ranks of the real launcher against plain torch in one process."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lamella.models.networks import build_network
from lamella.training.launch import launch_training
from lamella.training.settings import Backend

PROGRAM = Path(__file__).parent / "programs" / "gradients.py"
# In float32 first, as the stored constants are.
MEAN = torch.tensor([0.485, 0.456, 0.406]).double()
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).double()


@pytest.fixture(scope="module", params=[Backend.HOROVOD, Backend.TORCH])
def found(request, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    output = tmp_path_factory.mktemp("gradients") / "found.pt"
    command = [sys.executable, str(PROGRAM), str(cohort), str(output), request.param]
    launch_training(command, 2, backend=request.param)
    return torch.load(output, weights_only=True)


def gradients_of(found: dict, images: Tensor, labels: Tensor, *, training: bool) -> dict:
    network = build_network("test_resnet", 2).double().train(training)
    network.load_state_dict(found["weights"])
    inputs = (((images / torch.tensor(255.0)).double() - MEAN) / DEVIATION).permute(0, 3, 1, 2)
    cross_entropy(network(inputs), labels).backward()
    return {key: value.grad for key, value in network.named_parameters()}


def largest_difference(found: dict, expected: dict) -> float:
    assert found.keys() == expected.keys()
    assert all(expected[key].any() for key in expected)
    return max(
        ((found[key] - expected[key]).abs().max() / expected[key].abs().max()).item()
        for key in expected
    )


def test_ranks_had_unequal_shares_of_different_samples(found):
    assert [len(labels) for labels in found["labels"]] == [7, 6]
    images = torch.cat(found["images"]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 13


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_all_ranks_step_along_the_same_gradient(found, mode):
    first, second = found[mode]
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_gradient_of_two_ranks_is_that_of_one_process_on_the_joined_batch(found):
    # In evaluation mode batch normalisation does not look at the batch.
    joined = torch.cat(found["images"]), torch.cat(found["labels"])
    expected = gradients_of(found, *joined, training=False)
    difference = largest_difference(found["evaluation"][0], expected)
    print(f"largest relative difference {difference:.1e}")
    assert difference <= 1e-12


def test_with_batch_statistics_the_gradient_is_the_weighted_mean_of_the_parts(found):
    images, labels = torch.cat(found["images"]), torch.cat(found["labels"])
    parts = [
        (len(labels[part]), gradients_of(found, images[part], labels[part], training=True))
        for part in (slice(0, 4), slice(4, 7), slice(7, 10), slice(10, 13))
    ]
    expected = {key: sum(n / 13 * part[key] for n, part in parts) for key in parts[0][1]}
    assert largest_difference(found["training"][0], expected) <= 1e-12


def test_running_statistics_become_the_mean_of_the_ranks(found):
    name = "bn1.running_mean"
    first, second = (rank[name] for rank in found["statistics"])
    assert not torch.equal(first, second)
    for rank in found["averaged"]:
        torch.testing.assert_close(rank[name], (first + second) / 2, rtol=1e-12, atol=0)
        assert rank["bn1.num_batches_tracked"].item() == 2

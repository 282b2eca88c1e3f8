import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lamella.errors import TrainingError
from lamella.models.networks import build_network
from lamella.models.settings import HeadSettings
from lamella.models.weights import file_digest, freeze, load_weights, set_learning_mode

HEAD = HeadSettings(hidden=(6, 5), dropout=0.25)


def network(seed: int = 1, classes: int = 2, head: HeadSettings | None = None) -> nn.Module:
    torch.manual_seed(seed)
    return build_network("test_resnet", classes, head or HeadSettings())


def same(first: nn.Module, second: nn.Module, *, but: str = "-") -> bool:
    others = second.state_dict()
    kept = (key for key in first.state_dict() if not key.startswith(but))
    return all(torch.equal(first.state_dict()[key], others[key]) for key in kept)


@pytest.mark.parametrize("inside", [None, "state_dict", "network", "model"])
def test_weights_of_an_equal_network_are_all_taken(tmp_path, inside):
    source, target = network(seed=2, head=HEAD), network(seed=3, head=HEAD)
    weights = source.state_dict()
    torch.save({inside: weights} if inside else weights, tmp_path / "w.pt")
    assert not same(source, target)
    load_weights(target, tmp_path / "w.pt")
    assert same(source, target)


def test_classifier_of_another_size_is_left_out_and_the_log_says_so(tmp_path, caplog):
    source, target = network(seed=2, classes=5), network(seed=3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    classifier = target.fc.weight.clone()
    with caplog.at_level(logging.INFO):
        load_weights(target, tmp_path / "w.safetensors")
    assert same(target, source, but="fc.")
    assert torch.equal(target.fc.weight, classifier)
    assert "2 left out" in caplog.text
    assert "its classifier is of another shape; that of the run is new" in caplog.text


def test_head_of_hidden_layers_takes_the_place_of_the_stored_classifier(tmp_path):
    torch.save(network(seed=2).state_dict(), tmp_path / "w.pth")
    target = network(seed=3, head=HEAD)
    load_weights(target, tmp_path / "w.pth")
    assert same(target, network(seed=2), but="fc.")


def test_auxiliary_classifier_of_inception_is_left_out(tmp_path):
    weights = {**network(seed=2).state_dict(), "AuxLogits.fc.weight": torch.ones(3, 2)}
    torch.save(weights, tmp_path / "w.pt")
    target = network(seed=3)
    load_weights(target, tmp_path / "w.pt")
    assert same(target, network(seed=2))


def test_weights_of_another_network_are_refused_with_their_names(tmp_path):
    weights = network(seed=2).state_dict()
    weights["conv9.weight"] = weights.pop("conv1.0.weight")
    weights["bn1.bias"] = torch.ones(3)
    torch.save(weights, tmp_path / "w.pt")
    target = network(seed=3)
    with pytest.raises(TrainingError) as error:
        load_weights(target, tmp_path / "w.pt")
    for fault in (
        "conv1.0.weight is missing",
        "conv9.weight is unknown",
        "bn1.bias is (3,) instead",
    ):
        assert fault in str(error.value)
    assert same(target, network(seed=3))


class Code:
    """Something that torch would have to run code for."""


@pytest.mark.parametrize("stored", [Code(), {"epoch": 3}, torch.ones(2), {}])
def test_file_with_code_or_without_weights_is_refused(tmp_path, stored):
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(TrainingError, match=r"w\.pt: the weights cannot be read"):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights" * 50)
    with pytest.raises(TrainingError, match="the weights cannot be read"):
        load_weights(network(), tmp_path / name)


def test_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    # FIPS 180-4, example.
    assert file_digest(tmp_path / "w").startswith("ba7816bf8f01cfea")


def test_frozen_parameters_are_those_that_match():
    frozen = network()
    freeze(frozen, ["layer[12].*", "bn1.*"])
    found = {name.split(".")[0] for name, w in frozen.named_parameters() if not w.requires_grad}
    assert found == {"layer1", "layer2", "bn1"}


def test_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(TrainingError, match=r"'layer9\.\*' matches no parameter"):
        freeze(network(), ["layer1.*", "layer9.*"])


def test_freezing_everything_is_an_error():
    with pytest.raises(TrainingError, match="nothing is left to learn"):
        freeze(network(), ["*"])


def test_frozen_batch_normalisation_stays_as_it_is_and_the_rest_learns():
    learning = network()
    freeze(learning, ["bn1.*"])
    set_learning_mode(learning)
    learning(torch.randn(4, 3, 32, 32))
    assert learning.bn1.num_batches_tracked.item() == 0
    assert not learning.bn1.running_mean.any()
    assert learning.layer1[0].bn1.num_batches_tracked.item() == 1
    assert learning.training

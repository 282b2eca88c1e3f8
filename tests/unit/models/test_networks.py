import numpy as np
import pytest
import torch

from lamella.errors import TrainingError
from lamella.models.networks import InferenceNetwork, build_network, check_network, check_size
from lamella.models.preprocess import Preprocessing
from lamella.models.settings import HeadSettings


def test_preprocessing_normalises_each_channel_and_brings_it_to_the_front():
    patches = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    patches[0, 1, 2] = (255, 51, 0)
    images = Preprocessing()(torch.from_numpy(patches))
    assert images.shape == (1, 3, 2, 3)
    assert images.dtype == torch.float32
    # By hand; for red: one minus 0.485, over 0.229.
    expected = torch.tensor([2.2489083, -1.1428571, -1.8044444])
    torch.testing.assert_close(images[0, :, 1, 2], expected)
    torch.testing.assert_close(images[0, 0, 0, 0].item(), -0.485 / 0.229, rtol=1e-6, atol=0)


def test_inference_network_gives_probabilities_of_each_class():
    network = build_network("test_resnet", 3).eval()
    patches = torch.randint(0, 256, (4, 32, 40, 3), dtype=torch.uint8)
    probabilities = InferenceNetwork(network, Preprocessing()).eval()(patches)
    assert probabilities.shape == (4, 3)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(4))
    logits = network(Preprocessing()(patches))
    torch.testing.assert_close(probabilities.log(), logits.log_softmax(dim=1))


def test_preprocessing_adds_nothing_to_the_weights():
    network = build_network("test_resnet", 2)
    whole = InferenceNetwork(network, Preprocessing()).state_dict()
    assert {f"network.{key}" for key in network.state_dict()} == set(whole)


@pytest.mark.parametrize(
    ("misspelt", "closest"),
    [
        ("resnt50", "resnet50"),
        ("vit_smal_patch16_224", "vit_small_patch16_224"),
        ("resnet50.a1_in2k", "resnet50.a1_in1k"),
    ],
)
def test_unknown_network_is_refused_with_the_closest_name(misspelt, closest):
    with pytest.raises(TrainingError, match=f"{misspelt}.*Did you mean '{closest}'"):
        check_network(misspelt)


def test_name_like_no_other_is_refused_too():
    with pytest.raises(TrainingError, match=r"timm\.list_models\(\)"):
        build_network("my_own", 2)


def test_network_may_be_named_with_the_tag_of_its_weights():
    check_network("resnet50.a1_in1k")


def test_head_has_hidden_layers_with_dropout_before_the_outputs():
    network = build_network("test_resnet", 3, HeadSettings(hidden=(7, 5), dropout=0.5))
    kinds = [type(layer).__name__ for layer in network.fc]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [tuple(layer.weight.shape) for layer in network.fc[::3]] == [(7, 96), (5, 7), (3, 5)]
    assert [layer.p for layer in network.fc[2::3]] == [0.5, 0.5]
    assert network.eval()(torch.zeros(2, 3, 32, 40)).shape == (2, 3)


def test_dropout_without_hidden_layers_is_that_of_the_features():
    network = build_network("convnext_atto", 3, HeadSettings(dropout=0.25)).train()
    assert [type(layer).__name__ for layer in network.head.fc] == ["Dropout", "Linear"]
    answers = network(torch.rand(1, 3, 32, 32).repeat(2, 1, 1, 1))
    assert not torch.equal(answers[0], answers[1])


def test_head_is_refused_for_a_network_with_two_classifiers():
    with pytest.raises(TrainingError, match="does not end in one linear layer"):
        build_network("deit_tiny_distilled_patch16_224", 2, HeadSettings(hidden=(4,)))


def test_inception_has_no_auxiliary_classifier_and_tells_which_size_is_too_small():
    network = build_network("inception_v3", 2).train()
    assert not [name for name, _ in network.named_modules() if name.startswith("Aux")]
    check_size(network, "inception_v3", 75)
    with pytest.raises(TrainingError, match="does not take patches of 48 pixels"):
        check_size(network, "inception_v3", 48)


def test_transformer_of_another_size_is_refused():
    with pytest.raises(TrainingError, match="does not take patches of 48 pixels"):
        check_size(build_network("vit_tiny_patch16_224", 2), "vit_tiny_patch16_224", 48)

import numpy as np
import pytest
import torch

from lamella.errors import TrainingError
from lamella.models.networks import InferenceNetwork, build_network, check_network
from lamella.models.preprocess import Preprocessing


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

"""Weights of Keras' applications, in files that Keras itself has written; computed by torch."""

import h5py
import numpy as np
import pytest
import torch

from lamella.errors import TrainingError
from lamella.models.keras_library import KerasBackend, load_keras
from lamella.models.keras_networks import (
    build_keras_network,
    check_keras_size,
    stored_variables,
)
from lamella.models.keras_weights import freeze_keras, load_keras_weights
from lamella.models.preprocess import Preprocessing
from lamella.models.settings import HeadSettings, Preparation

SIZE = 96

# Keras reads torch's tensors in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras():
    return load_keras(KerasBackend.TORCH)


def build(keras, name):
    return build_keras_network(keras, name, 2, HeadSettings(hidden=(4,)), channels_last=False)


def write(keras, path, name, *, classifier):
    """Write weights as Keras' applications offer them, and return the network that has them."""
    from keras.src.legacy.saving import legacy_h5_format

    keras.utils.set_random_seed(11)
    network = build(keras, name)
    generator = np.random.default_rng(4)
    for variable in network.body.weights:
        if "moving_mean" in variable.path:
            variable.assign(generator.normal(0, 0.2, variable.shape))
    features = network.body.output
    if classifier:
        features = keras.layers.Dense(1000, name="predictions")(features)
    with h5py.File(path, "w") as file:
        whole = keras.Model(network.body.input, features)
        legacy_h5_format.save_weights_to_hdf5_group(file, whole)
    return network


def seen(keras, network, images):
    """Return what the first normalisation makes of images, without the border."""
    kind = keras.layers.BatchNormalization
    first = next(layer for layer in network.body.layers if isinstance(layer, kind))
    with torch.no_grad():
        maps = keras.Model(network.body.input, first.output)(images, training=False)
    return maps[:, :, 2:-2, 2:-2].numpy()


@pytest.mark.parametrize("name", ["resnet50", "inception_v3"])
@pytest.mark.parametrize("classifier", [False, True])
def test_weights_of_keras_see_what_keras_would_have_shown_them(keras, tmp_path, name, classifier):
    path = tmp_path / "weights.h5"
    offered = write(keras, path, name, classifier=classifier)
    patches = np.random.default_rng(5).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    of_keras = getattr(keras.applications, "resnet50" if name == "resnet50" else name)
    shown = of_keras.preprocess_input(
        patches.astype(np.float32).transpose(0, 3, 1, 2), data_format="channels_first"
    )
    expected = seen(keras, offered, torch.from_numpy(np.ascontiguousarray(shown)))

    network = build(keras, name)
    load_keras_weights(network, path, prepared=Preparation.KERAS)
    found = seen(keras, network, Preprocessing()(torch.from_numpy(patches)))
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()

    load_keras_weights(network, path, prepared=Preparation.LAMELLA)
    unturned = seen(keras, network, Preprocessing()(torch.from_numpy(patches)))
    assert np.abs(unturned - expected).max() > 0.1 * np.abs(expected).max()


def test_weights_of_another_network_are_refused(keras, tmp_path):
    write(keras, tmp_path / "weights.h5", "resnet50", classifier=True)
    with pytest.raises(TrainingError, match="of another network: 320 tensors instead of 376"):
        load_keras_weights(build(keras, "inception_v3"), tmp_path / "weights.h5")


def test_weights_of_a_deeper_network_are_refused_though_all_names_are_there(keras, tmp_path):
    deeper = stored_variables(build(keras, "resnet101"))
    stored = {name: variable.value.detach().clone() for name, variable in deeper.items()}
    torch.save(stored, tmp_path / "best.pt")
    with pytest.raises(TrainingError, match=r"of another network: conv4_block10_1_bn/beta is unkn"):
        load_keras_weights(build(keras, "resnet50"), tmp_path / "best.pt")


def test_weights_in_bfloat16_are_taken_and_a_head_of_another_shape_is_not(keras, tmp_path):
    keras.utils.set_random_seed(3)
    other = build_keras_network(keras, "resnet50", 5, HeadSettings(), channels_last=False)
    stored = {
        name: variable.value.detach().bfloat16()
        for name, variable in stored_variables(other).items()
    }
    torch.save(stored, tmp_path / "best.pt")
    network = build(keras, "resnet50")
    before = network.model.get_layer("logits").kernel.value.detach().clone()
    load_keras_weights(network, tmp_path / "best.pt")
    after = stored_variables(network)
    name = "conv1_conv/kernel"
    assert torch.equal(after[name].value.detach(), stored[name].float())
    assert torch.equal(after["logits/kernel"].value.detach(), before)


def test_file_that_holds_no_weights_is_refused_with_what_would_do(keras, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(TrainingError, match=r"other\.h5: the weights cannot be read .*best\.pt"):
        load_keras_weights(build(keras, "resnet50"), tmp_path / "other.h5")


def test_names_of_weights_do_not_depend_on_what_was_built_before(keras):
    first, second = (list(stored_variables(build(keras, "inception_v3"))) for _ in range(2))
    assert first == second
    assert len(set(first)) == 378 + 2


def test_frozen_layers_keep_their_statistics_and_the_others_learn(keras):
    network = build(keras, "resnet50")
    learning = freeze_keras(keras, network.model, ["conv1_*", "conv2_*_bn/gamma"])
    assert not [each.path for each in learning if each.path.startswith("conv1_")]
    assert not network.model.get_layer("conv1_bn").trainable
    # Its shift still learns.
    assert network.model.get_layer("conv2_block1_1_bn").trainable


def test_pattern_that_matches_nothing_is_refused(keras):
    with pytest.raises(TrainingError, match=r"'layer1\.\*' matches no parameter .*conv1"):
        freeze_keras(keras, build(keras, "resnet50").model, ["layer1.*"])


def test_patches_below_the_least_size_of_inception_are_refused(keras):
    network = build_keras_network(keras, "inception_v3", 2, HeadSettings())
    check_keras_size(network, "inception_v3", 75)
    with pytest.raises(TrainingError, match="does not take patches of 48 pixels"):
        check_keras_size(network, "inception_v3", 48)


def test_network_in_bfloat16_keeps_weights_and_logits_in_float32(keras):
    plain = build_keras_network(keras, "resnet50", 2, HeadSettings())
    mixed = build_keras_network(keras, "resnet50", 2, HeadSettings(), policy="mixed_bfloat16")
    computed = {layer.name: layer.compute_dtype for layer in mixed.model.layers}
    assert computed.pop("logits") == "float32"
    assert set(computed.values()) == {"bfloat16"}
    assert {variable.dtype for variable in mixed.model.weights} == {"float32"}
    assert list(stored_variables(mixed)) == list(stored_variables(plain))
    assert {layer.compute_dtype for layer in plain.model.layers} == {"float32"}

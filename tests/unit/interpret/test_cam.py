"""Grad-CAM finds what the class is made of, and its check tells looking at nuclei from chance."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lamella.errors import UnexplainableError
from lamella.interpret.cam import conv_stage, grad_cam, mass_in_dark
from lamella.models.networks import build_network


class Halves(nn.Module):
    """Class 0 is made of red, class 1 of three parts of green minus one of red."""

    def __init__(self):
        super().__init__()
        self.feature_info = [
            {"module": "first", "num_chs": 3},
            {"module": "last", "num_chs": 3},
        ]
        self.first = nn.Identity()
        self.last = nn.AvgPool2d(2)
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 3.0, 0.0]]))

    def forward(self, images):
        return self.head(self.last(self.first(images)).mean(dim=(2, 3)))


class Plain(nn.Module):
    """Pixels as they are, channels in front."""

    def forward(self, patches):
        return patches.to(torch.float32).permute(0, 3, 1, 2)


class ChannelsLast(Halves):
    """The same with maps as those of a Swin transformer: ``(n, height, width, channels)``."""

    def __init__(self):
        super().__init__()
        self.last = Turned()

    def forward(self, images):
        return self.head(self.last(images).mean(dim=(1, 2)))


class Turned(nn.Module):
    """Channels behind."""

    def forward(self, images):
        return images.permute(0, 2, 3, 1)


def model(network=None, patch_px=8):
    return SimpleNamespace(
        network=(network or Halves()).eval(),
        preprocessing=Plain(),
        run=SimpleNamespace(model="halves"),
        patch_px=patch_px,
    )


def cams_of(patches, classes, *, stage_from_end):
    halves = model()
    return grad_cam(halves, conv_stage(halves, stage_from_end), patches, np.array(classes))


def patch_of(red, green):
    patch = np.zeros((2, 4, 3), dtype=np.uint8)
    patch[..., 0], patch[..., 1] = red, green
    return patch


def test_the_map_is_the_weighed_sum_of_the_stage_without_its_negative_part():
    patch = patch_of(
        red=[[90, 90, 10, 10], [90, 90, 10, 10]], green=[[20, 20, 40, 40], [20, 20, 40, 40]]
    )
    # By hand at the finest stage: 3 * 20 - 90 < 0 at the left, 3 * 40 - 10 > 0 at the right.
    (map_of_green,) = cams_of(patch[None], [1], stage_from_end=2)
    np.testing.assert_allclose(map_of_green, [[0, 0, 1, 1]] * 2, atol=1e-6)
    (map_of_red,) = cams_of(patch[None], [0], stage_from_end=2)
    np.testing.assert_allclose(map_of_red, [[1, 1, 1 / 9, 1 / 9]] * 2, atol=1e-6)


def test_a_coarse_stage_is_enlarged_to_the_patch():
    patch = patch_of(red=[[90, 90, 0, 0]] * 2, green=0)
    (found,) = cams_of(patch[None], [0], stage_from_end=1)
    # Bilinear between the centres of two cells of two pixels each.
    np.testing.assert_allclose(found, [[1.0, 0.75, 0.25, 0.0]] * 2, atol=1e-6)


def test_nothing_that_speaks_for_a_class_gives_an_empty_map():
    (found,) = cams_of(patch_of(red=80, green=0)[None], [1], stage_from_end=1)
    assert found.tolist() == [[0.0] * 4] * 2


def test_patches_of_a_batch_are_explained_for_their_own_classes():
    patches = np.stack([patch_of(red=[[90, 0, 0, 0]] * 2, green=9)] * 2)
    both = cams_of(patches, [0, 1], stage_from_end=2)
    assert both[0].argmax(axis=1).tolist() == [0, 0]
    assert both[1][:, 0].tolist() == [0.0, 0.0]


def test_a_network_without_such_a_stage_is_refused():
    with pytest.raises(UnexplainableError, match="names 2 convolutional stages"):
        conv_stage(model(), 3)


def test_tokens_of_a_transformer_are_no_maps():
    transformer = build_network("test_vit", 2)
    with pytest.raises(UnexplainableError, match=r"blocks.5 gives \(1, 101, 64\)"):
        conv_stage(model(transformer, patch_px=160), 1)


def test_maps_with_the_channels_behind_are_refused_and_not_explained_wrongly():
    with pytest.raises(UnexplainableError, match=r"last gives \(1, 8, 8, 3\).*\(1, 3, height"):
        conv_stage(model(ChannelsLast()), 1)


def test_a_map_on_the_dark_quarter_has_all_its_mass_there_and_a_flat_one_a_quarter():
    patch = np.full((4, 8, 3), 200, dtype=np.uint8)
    patch[:2, :4] = 40
    on_nuclei = np.zeros((4, 8), dtype=np.float32)
    on_nuclei[0, 1] = 0.5
    assert mass_in_dark(on_nuclei, patch, dark_share=0.25) == (1.0, 0.25)
    flat = np.ones((4, 8), dtype=np.float32)
    assert mass_in_dark(flat, patch, dark_share=0.25) == (0.25, 0.25)


def test_equally_dark_pixels_count_alike_so_that_a_flat_map_is_always_chance():
    patch = np.full((4, 8, 3), 90, dtype=np.uint8)
    mass, chance = mass_in_dark(np.ones((4, 8), dtype=np.float32), patch, dark_share=0.25)
    assert (mass, chance) == (1.0, 1.0)


def test_an_empty_map_has_no_mass_anywhere():
    patch = np.zeros((2, 2, 3), dtype=np.uint8)
    assert mass_in_dark(np.zeros((2, 2), dtype=np.float32), patch, dark_share=0.25)[0] is None

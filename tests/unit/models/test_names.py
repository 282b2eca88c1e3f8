"""The names of networks that are refused early, against those that timm builds."""

import subprocess
import sys

import pytest
import timm

from lamella.models.names import has_network, network_names


def test_names_are_those_that_timm_builds_and_former_ones():
    names = network_names()
    assert set(timm.list_models()) <= names
    assert all(timm.is_model(name) for name in names)


@pytest.mark.parametrize("name", ["resnet50", "vit_tiny_patch16_224.augreg_in21k", "tv_resnet50"])
def test_network_may_have_a_tag_or_a_former_name(name):
    assert has_network(name)


def test_timm_is_not_imported_for_them():
    code = (
        "import sys; from lamella.models.names import has_network;"
        " assert not has_network('resnte50'); assert not {'timm', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

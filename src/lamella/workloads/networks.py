"""The networks of the workloads, with seeded weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lamella.benchmark.settings import BenchmarkCase
from lamella.export.description import ModelInterface, TensorDescription
from lamella.models.networks import InferenceNetwork, build_network
from lamella.models.preprocess import Preprocessing
from lamella.models.segmentation import SegmentationNetwork
from lamella.models.settings import HeadSettings
from lamella.models.settle import settle
from lamella.models.unet import UNet

INPUT, OUTPUT = "images", "probabilities"

_WIDTHS = (16, 32, 64, 128, 256)
_OFFSET = 2.0
"""What batch normalisation adds, in standard deviations of a channel. With 0, as it is made, half
of all numbers are cut off, and every layer enlarges the rounding of the one before, unlike in
learned networks."""
_WSI_CLASSES = 4
_WSI_HEAD = HeadSettings(hidden=(64,))


@dataclass(frozen=True)
class WorkloadNetwork:
    """A network and what goes in and out.

    Attributes:
        network: From stored values to probabilities, in evaluation mode.
        interface: Its input and output; axis 0 is free.
        parameters: Number of weights.
    """

    network: nn.Module
    interface: ModelInterface
    parameters: int


def workload_network(
    case: BenchmarkCase, images: NDArray[np.generic], seed: int
) -> WorkloadNetwork:
    """Return the network of a workload.

    ``ultrasound``: a U-Net of 1.9 million weights, background and two tissues; ``ct``: a U-Net in
    three dimensions of 5.6 million, background and lung; ``wsi``: Inception v3 with 64 hidden
    units, four classes.

    Args:
        case: The workload.
        images: A few of its images, as they are stored; weights are settled on the middle ones.
        seed: Seed of the weights.

    Source:
        Smistad, Østvik and Pedersen, IEEE Access 7, 2019, doi:10.1109/ACCESS.2019.2942441.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(case)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.constant_(layer.bias, _OFFSET)
    stored = torch.from_numpy(images)
    first = max(0, (len(images) - _SETTLED[case]) // 2)
    _settle(network, stored[first : first + _SETTLED[case]])
    with torch.inference_mode():
        answer = network.eval()(stored[:1])
    lengths = tuple(images.shape[1:])
    return WorkloadNetwork(
        network=network,
        interface=ModelInterface(
            inputs=(_tensor(INPUT, str(images.dtype), lengths, _LAYOUTS[case][0]),),
            outputs=(_tensor(OUTPUT, "float32", tuple(answer.shape[1:]), _LAYOUTS[case][1]),),
        ),
        parameters=sum(each.numel() for each in network.parameters()),
    )


_SETTLED = {BenchmarkCase.ULTRASOUND: 8, BenchmarkCase.CT: 2, BenchmarkCase.WSI: 16}
"""Most images on which weights are settled, all in one batch: of volumes, gigabytes."""

_LAYOUTS = {
    BenchmarkCase.ULTRASOUND: ("NHW", "NHWC"),
    BenchmarkCase.CT: ("NDHW", "NDHWC"),
    BenchmarkCase.WSI: ("NHWC", "NC"),
}


def _network(case: BenchmarkCase) -> nn.Module:
    match case:
        case BenchmarkCase.ULTRASOUND:
            unet = UNet(2, channels=1, classes=3, widths=_WIDTHS)
            return SegmentationNetwork(unet, low=0.0, high=255.0)
        case BenchmarkCase.CT:
            unet = UNet(3, channels=1, classes=2, widths=_WIDTHS)
            return SegmentationNetwork(unet, low=-1200.0, high=400.0)
        case BenchmarkCase.WSI:
            inception = build_network("inception_v3", _WSI_CLASSES, _WSI_HEAD)
            return InferenceNetwork(inception, Preprocessing())
        case BenchmarkCase.PATCHES:
            raise ValueError("its network is that of the study")


def _settle(network: nn.Module, stored: torch.Tensor) -> None:
    if isinstance(network, SegmentationNetwork):
        settle(network.network, network.scaled(stored))
    else:
        assert isinstance(network, InferenceNetwork)
        settle(network.network, network.preprocessing(stored))


def _tensor(name: str, dtype: str, lengths: tuple[int, ...], layout: str) -> TensorDescription:
    return TensorDescription(name=name, dtype=dtype, shape=(-1, *lengths), layout=layout)

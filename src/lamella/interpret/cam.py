"""Grad-CAM: where in a patch the evidence for a class is; the one module that talks to captum."""

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import NDArray
from torch import nn

from lamella.errors import UnexplainableError
from lamella.training.checkpoint import TrainedModel


def conv_stage(model: TrainedModel, stage_from_end: int) -> nn.Module:
    """Return a stage of a convolutional network: the module after which its grid gets coarser.

    Args:
        model: A trained network, of timm or of Keras.
        stage_from_end: 1 for the last stage.

    Raises:
        UnexplainableError: the network does not name so many stages, or the stage gives no maps
            ``(n, channels, height, width)``: those of transformers are of another shape.
    """
    stages = getattr(model.network, "feature_info", None) or []
    if len(stages) < stage_from_end:
        raise UnexplainableError(
            f"the network names {len(stages)} convolutional stages; Grad-CAM needs"
            f" the {stage_from_end}. from the end",
            model.run.model,
            "Choose a smaller `interpret.stage_from_end`, or a convolutional network",
        )
    about = stages[-stage_from_end]
    stage = model.network.get_submodule(about["module"])
    shape = _output_shape(model, stage)
    if len(shape) != 4 or shape[1] != about["num_chs"]:
        raise UnexplainableError(
            f"stage {about['module']} gives {shape} for one patch; Grad-CAM needs maps"
            f" (1, {about['num_chs']}, height, width)",
            model.run.model,
            "Train a convolutional network, too, if explanations are wanted",
        )
    return stage


def _output_shape(model: TrainedModel, stage: nn.Module) -> tuple[int, ...]:
    """Return the shape of what a stage gives for one patch."""
    shapes: list[tuple[int, ...]] = []
    hook = stage.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    patch = torch.zeros((1, model.patch_px, model.patch_px, 3), dtype=torch.uint8)
    with hook, torch.no_grad():
        model.network(model.preprocessing(patch))
    return shapes[-1]


def grad_cam(
    model: TrainedModel,
    stage: nn.Module,
    patches: NDArray[np.uint8],
    classes: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return where the evidence for a class is, one map per patch.

    The maps of a convolutional stage are weighed with the mean gradient of the class's logit,
    added up, cut off below zero, enlarged bilinearly, and divided by their highest value.

    Args:
        model: A trained network.
        stage: Stage whose maps are weighed, from ``conv_stage``.
        patches: ``(n, height, width, 3)`` uint8, RGB.
        classes: ``(n,)`` class to explain of each patch.

    Returns:
        ``(n, height, width)`` in ``[0, 1]``; all 0 where nothing speaks for the class.

    Source:
        Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74.
    """
    images = model.preprocessing(torch.from_numpy(np.require(patches, requirements="W")))
    maps = LayerGradCam(model.network, stage).attribute(
        images.requires_grad_(), target=torch.from_numpy(classes), relu_attributions=True
    )
    large = LayerAttribution.interpolate(maps.detach(), patches.shape[1:3], "bilinear")
    return normalise(large[:, 0].numpy())


def normalise(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return maps divided by their highest value; a map without positive values stays 0.

    Args:
        maps: ``(n, height, width)``, not negative.
    """
    highest = maps.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float32] = np.divide(
        maps, highest, out=np.zeros_like(maps), where=highest > 0
    )
    return scaled


def mass_in_dark(
    cam: NDArray[np.float32], patch: NDArray[np.uint8], *, dark_share: float
) -> tuple[float | None, float]:
    """Return how much of a map lies on the darkest pixels, and how much would by chance.

    Nuclei are the darkest part of stained tissue. A map that looks at nuclei puts more of its
    mass there than their area's share; one that is everywhere alike puts exactly that share.

    Args:
        cam: ``[y, x]``, not negative.
        patch: ``[y, x, channel]`` uint8, RGB.
        dark_share: Share of the pixels that count as dark.

    Returns:
        Share of the map's mass on dark pixels, ``None`` for an empty map; and the share of the
        pixels that are dark, at least ``dark_share`` because equal pixels are alike.

    Source:
        Brightness as in ITU-R BT.601.
    """
    brightness = patch.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    count = max(1, round(dark_share * brightness.size))
    dark = brightness <= np.partition(brightness.ravel(), count - 1)[count - 1]
    total = float(cam.sum(dtype=np.float64))
    mass = float(cam[dark].sum(dtype=np.float64)) / total if total > 0 else None
    return mass, float(dark.mean())

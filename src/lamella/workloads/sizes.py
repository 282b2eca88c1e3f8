"""What the workloads are made of, small and as in the paper."""

from dataclasses import dataclass

from lamella.workloads.settings import WorkloadSize


@dataclass(frozen=True)
class Sizes:
    """How much of what.

    Attributes:
        frames: Frames of the clip.
        frame_px: Edge length of a frame as the network sees it.
        volume_zyx: Voxels of the volume.
        patch_zyx: Voxels of its patches, each length divisible by 16.
        slide_px: Width and height of a drawn slide in pixels of level 0.
        patch_px: Edge length of its patches, in pixels of level 0.
    """

    frames: int
    frame_px: int
    volume_zyx: tuple[int, int, int]
    patch_zyx: tuple[int, int, int]
    slide_px: tuple[int, int]
    patch_px: int


SIZES = {
    WorkloadSize.SMALL: Sizes(
        frames=24,
        frame_px=256,
        volume_zyx=(40, 144, 112),
        patch_zyx=(16, 64, 64),
        slide_px=(3_500, 2_500),
        patch_px=512,
    ),
    WorkloadSize.PAPER: Sizes(
        frames=171,
        frame_px=256,
        volume_zyx=(305, 512, 512),
        patch_zyx=(32, 256, 256),
        slide_px=(52_000, 43_000),
        patch_px=512,
    ),
}
"""Source:
    Smistad, Østvik and Pedersen, IEEE Access 7, 2019, doi:10.1109/ACCESS.2019.2942441.
"""

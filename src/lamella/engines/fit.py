"""Do these patches fit this model?"""

import math

from lamella.errors import StoreError
from lamella.export.description import ModelDescription


def check_patches_fit(
    description: ModelDescription, *, patch_px: int, mpp: float, where: str
) -> None:
    """Refuse patches of another size or resolution than the model was trained on.

    Args:
        description: The model.
        patch_px: Edge length of the patches in pixels.
        mpp: Microns per pixel of the patches.
        where: The file or slide that the patches come from.

    Raises:
        StoreError: size or resolution differ.
    """
    # 1 % is far below any difference between two magnifications, and above rounding.
    if patch_px == description.patch_px and math.isclose(mpp, description.mpp, rel_tol=0.01):
        return
    raise StoreError(
        f"the patches are {patch_px} px at {mpp:g} microns per pixel, the model takes"
        f" {description.patch_px} px at {description.mpp:g}",
        where,
        "Train and export the run again, or extract the patches with the settings of the training",
    )

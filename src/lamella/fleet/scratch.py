"""A folder on the node's own disk that a worker may use; it ends with the workers."""

import os
from pathlib import Path

from lamella.errors import SettingsError
from lamella.slurm.settings import SiteSettings

SCRATCH_VARIABLE = "LAMELLA_SCRATCH"
"""Names the folder in the environment of a worker."""


def worker_scratch() -> Path | None:
    """Return the folder of this process's workers; ``None`` outside a worker."""
    name = os.environ.get(SCRATCH_VARIABLE)
    return Path(name) if name else None


def site_scratch(site: SiteSettings) -> Path | None:
    """Return the site's scratch folder on this machine; ``None``: where the system has its own.

    Raises:
        SettingsError: it is not here and cannot be made, or names a variable that is not set.
    """
    if site.scratch is None:
        return None
    folder = Path(os.path.expandvars(site.scratch))
    if "$" in str(folder):
        raise SettingsError(
            f"{folder} names a variable that is not set on this machine",
            "site.scratch",
            "Name a folder that every node has, or leave it null",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"there is no folder {folder} on this machine, and none can be made ({error.strerror})",
            "site.scratch",
            "Name a folder that every node has, or leave it null",
        ) from error
    return folder

"""Fingerprints: the digest of all that makes an output what it is."""

from lamella.settings import Settings
from lamella.stores.json_files import digest


def fingerprint(stage: str, revision: int, settings: Settings, **inputs: object) -> str:
    """Return the digest of a stage's output for one slide.

    Args:
        stage: Name of the stage.
        revision: The room's ``REVISION``.
        settings: The stage's settings.
        inputs: Identity of the slide, fingerprints of other inputs, cells of the slide table
            that the output depends on; JSON values.

    Returns:
        64 hexadecimal digits. Equal fingerprints promise equal outputs.
    """
    return digest(
        {
            "stage": stage,
            "revision": revision,
            "settings": settings.as_params(),
            "inputs": inputs,
        }
    )

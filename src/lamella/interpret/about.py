"""``about.json`` beside ``explanations.tsv``: what was explained, or why nothing could be."""

from pathlib import Path
from typing import Any

from lamella.datasets.settings import TargetKind
from lamella.errors import StoreError
from lamella.stores.json_files import read_json, write_json

ABOUT = "about.json"
"""Name of the file."""


def write_about(
    path: Path, *, method: str, model: str, seed: int, kind: TargetKind, reason: str
) -> None:
    """Write the file in one step.

    Args:
        path: The file.
        method: How was explained.
        model: Name of the network.
        seed: Seed of its training.
        kind: What it has learned.
        reason: Why the method cannot explain the network; empty where it can.
    """
    write_json(
        path, {"method": method, "model": model, "seed": seed, "kind": str(kind), "reason": reason}
    )


def read_kind(path: Path) -> TargetKind:
    """Return what the explained network has learned; files of old do not say it: classes.

    Raises:
        StoreError: the file is missing or of another layout.
    """
    return TargetKind(_read(path).get("kind", TargetKind.CLASSES))


def read_reason(path: Path) -> str:
    """Return why nothing is explained; empty where the method can explain the network.

    Raises:
        StoreError: the file is missing or of another layout.
    """
    return str(_read(path)["reason"])


def _read(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = read_json(path)
        if "reason" not in about:
            raise KeyError("reason")
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"what was explained cannot be read ({error})",
            str(path),
            "Delete explanations.tsv beside it and run `snakemake interpret` again",
        ) from error
    return about

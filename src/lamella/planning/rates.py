"""How fast the stages are: as measured in this folder, else as docs/performance.md has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lamella.engines.settings import EngineName
from lamella.fleet.manifest import MANIFEST_NAME, ManifestRow, Status, read_manifest
from lamella.slurm.cost_table import read_costs
from lamella.slurm.rule_costs import by_rule
from lamella.stores.codec import Storage
from lamella.stores.json_files import read_json
from lamella.stores.tables import read_table

SEGMENT_S_PER_GIGAPIXEL = 0.63
"""5 s for 100,000 by 80,000 pixels: "One very large slide"."""

EXTRACT_S = {
    Storage.PIXELS: 0.377e-3,
    Storage.JPEG: 0.648e-3,
    Storage.PASSTHROUGH: 0.045e-3,
    Storage.COORDINATES: 0.006e-3,
}
"""Seconds of a core per patch of 224 pixels: "The whole step into HDF5"."""

EXTRACT_PX = 224

PREDICT_S = {
    EngineName.ONNXRUNTIME: 2 / 569,
    EngineName.OPENVINO: 2 / 588,
    EngineName.TENSORFLOW: 2 / 407,
    EngineName.TORCH: 2 / 274,
    EngineName.TORCH_COMPILED: 2 / 355,
    EngineName.TORCHSCRIPT: 2 / 278,
}
"""Seconds of a core per patch of 64 pixels, ResNet-50 on two threads: "Engines"."""

PREDICT_PX = 64

TRAIN_S = 1 / 16.9
"""Seconds of a core per patch of 128 pixels, ResNet-50: "Ranks"."""

TRAIN_PX = 128

FIXED_H = 0.1
"""Hours of a job that does not grow with the slides: a guess, nothing is measured."""


@dataclass(frozen=True)
class Rate:
    """How long a thing takes.

    Attributes:
        seconds: Of one core, for one slide, one patch, one sample or one job.
        source: Where the figure is from.
    """

    seconds: float
    source: str


def segment_rate(root: Path, gigapixels: float) -> Rate:
    """Return the time for one slide.

    Args:
        root: The results folder.
        gigapixels: Mean size of the slides.
    """
    seconds = _slide_seconds(root / "masks")
    if seconds:
        return Rate(sum(seconds.values()) / len(seconds), "masks/timings.tsv")
    return Rate(SEGMENT_S_PER_GIGAPIXEL * gigapixels, "default")


def extract_rate(root: Path, storage: Storage, size_px: int) -> Rate:
    """Return the time for one patch."""
    seconds = _seconds_per_patch(root / "patches")
    if seconds is not None:
        return Rate(seconds, "patches/timings.tsv")
    return Rate(EXTRACT_S[storage] * (size_px / EXTRACT_PX) ** 2, "default")


def predict_rate(root: Path, run: str, engine: EngineName, size_px: int) -> Rate:
    """Return the time of one thread for one patch."""
    seconds = _seconds_per_patch(root / "predict" / run)
    if seconds is not None:
        return Rate(seconds, f"predict/{run}/timings.tsv")
    # Of the others nothing was measured yet: torch is the slowest of these.
    seconds = PREDICT_S.get(engine, PREDICT_S[EngineName.TORCH])
    return Rate(seconds * (size_px / PREDICT_PX) ** 2, "default")


def train_rate(root: Path, run: str, model: str, size_px: int) -> Rate:
    """Return the time of one process for one sample.

    A measurement of another network says nothing; one of another size is scaled by its area.
    """
    for path in sorted((root / "train" / run).glob("seed*/metrics.json")):
        metrics = read_json(path)
        speed = metrics["timings"]["samples_per_s"]
        if metrics["settings"]["model"] == model and speed:
            scale = (size_px / metrics["patch_px"]) ** 2
            return Rate(metrics["world_size"] / speed * scale, f"train/{run}/{path.parent.name}")
    return Rate(TRAIN_S * (size_px / TRAIN_PX) ** 2, "default")


def fixed_rates(root: Path) -> Mapping[str, Rate]:
    """Return the time on the clock of one job, of the rules that have run on SLURM."""
    return {
        rule.rule: Rate(3600 * rule.wall_hours / rule.jobs, "jobs/jobs.tsv")
        for rule in by_rule(read_costs(root))
        if rule.wall_hours
    }


def counted_patches(root: Path) -> dict[str, int]:
    """Return the number of patches of the slides that are extracted already."""
    return {
        name: row.n
        for name, row in _manifest(root / "patches").items()
        if row.status is not Status.FAILED
    }


def tissue_shares(root: Path) -> dict[str, float]:
    """Return the share of each slide that is tissue, of slides with a finished mask."""
    path = root / "masks/quality.tsv"
    rows = read_table(path) if path.exists() else []
    return {row["slide"]: float(row["tissue_share"]) for row in rows if row["tissue_share"]}


def _seconds_per_patch(folder: Path) -> float | None:
    """Return the time for one patch of the slides that were done in the last run of a stage."""
    rows, seconds = _manifest(folder), _slide_seconds(folder)
    patches = sum(rows[slide].n for slide in seconds if slide in rows)
    return sum(seconds.values()) / patches if patches else None


def _slide_seconds(folder: Path) -> dict[str, float]:
    path = folder / "timings.tsv"
    rows = read_table(path) if path.exists() else []
    return {row["slide"]: float(row["seconds"]) for row in rows if row["seconds"]}


def _manifest(folder: Path) -> dict[str, ManifestRow]:
    path = folder / MANIFEST_NAME
    return read_manifest(path) if path.exists() else {}

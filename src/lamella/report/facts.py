"""With what the results were made, and where they lie."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lamella
from lamella.slides.openslide_source import OPENSLIDE_VERSION

_PACKAGES = (
    *("snakemake", "dask", "h5py", "numpy", "torch", "timm", "horovod", "onnx"),
    *("onnxruntime-gpu", "onnxruntime", "openvino", "captum", "mlflow"),
)

PLACES = (
    ("../cohort/slides.tsv", "the checked slide table"),
    ("../cohort/splits.tsv", "which slide is in which split"),
    ("../masks/manifest.tsv", "tissue masks and thumbnails, one row per slide"),
    ("../masks/quality.tsv", "tissue, pen, gaps, folds and blur, one row per slide"),
    ("../patches/manifest.tsv", "patches in HDF5, one row per slide"),
    ("../patches/index.parquet", "all patches in one table"),
    ("../patches/cohort.h5", "all patches as one HDF5 file, for looking"),
    ("../train/summary.tsv", "figures of the runs over their seeds"),
    ("../export/", "exported models and their comparison"),
    ("../predict/", "predictions in HDF5, heatmaps, scores"),
    ("../interpret/", "explanations"),
    ("../benchmark/summary.tsv", "the engines, timed"),
    ("../benchmark/scenarios.tsv", "the engines in MLPerf's scenarios"),
    ("../benchmark/workloads.tsv", "the engines in the medical workloads, where they were run"),
    ("../failures.tsv", "quarantined slides"),
    ("../jobs/", "what the SLURM jobs cost"),
    ("../mlflow/", "the tracking store; open it with mlflow ui"),
    ("../logs/", "what every job said"),
)
"""Files and folders, relative to the page, and what is in them."""


def versions() -> list[tuple[str, str]]:
    """Return programs and libraries with their versions; those that are absent are left out."""
    found = [
        ("lamella", lamella.__version__),
        ("python", platform.python_version()),
        ("openslide", OPENSLIDE_VERSION),
    ]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting as ``section.name`` and text, in the given order."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)

"""Drawn patches in the layout of ``results/patches``: dark dense dots against pale sparse ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from lamella.patches.index import PatchIndex, write_index
from lamella.stores.codec import Codec
from lamella.stores.shards import PatchColumns, write_shard

PATIENTS = {"train": ("p1", "p2", "p3"), "validation": ("p4",), "test": ("p5",)}


def draw_patch(label: int, size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return a pinkish ``(size, size, 3)`` patch; class 1 has more and darker nuclei."""
    base = np.array([228, 190, 215]) + generator.integers(-12, 13, 3)
    patch = np.broadcast_to(base, (size, size, 3)) + generator.normal(0, 8, (size, size, 3))
    y, x = np.mgrid[:size, :size]
    area = (size / 32) ** 2
    for _ in range(generator.poisson((14 if label else 5) * area)):
        center_y, center_x = generator.uniform(0, size, 2)
        radius = generator.uniform(2.2, 3.4) if label else generator.uniform(1.6, 2.4)
        inside = (y - center_y) ** 2 + (x - center_x) ** 2 < radius**2
        patch[inside] = np.array([90, 60, 130]) + generator.normal(0, 10, 3) - 15 * label
    return patch.clip(0, 255).astype(np.uint8)


def draw_cohort(folder: Path, *, per_slide: int, size: int = 32) -> Path:
    """Write one slide per patient, and return the path of the index."""
    tables = []
    for number, (split, patient) in enumerate(
        (split, patient) for split, patients in PATIENTS.items() for patient in patients
    ):
        # The last patient has fewer patches, so that nothing divides evenly.
        tables.append(_draw_slide(folder, number, patient, split, per_slide - number, size))
    index = PatchIndex(
        table=pd.concat(tables, ignore_index=True),
        classes=("normal", "tumor"),
        patch_px=size,
        mpp=0.5,
        digest=f"{per_slide}-{size}",
        folder=folder,
    )
    write_index(folder / "index.parquet", index)
    return folder / "index.parquet"


def _draw_slide(
    folder: Path, number: int, patient: str, split: str, n: int, size: int
) -> pd.DataFrame:
    generator = np.random.default_rng(number)
    labels = (np.arange(n) % 3 == 0).astype(np.int16)
    shares = np.ones(n, dtype=np.float32)
    columns = PatchColumns(
        x=np.arange(n) * 100,
        y=np.arange(n) * 7,
        tissue_share=shares,
        tumor_share=labels.astype(np.float32),
        label=labels,
    )
    slide, shard = f"s{number}", f"slides/s{number}.h5"
    pixels = np.stack([draw_patch(int(label), size, generator) for label in labels])
    write_shard(
        folder / shard,
        columns,
        [pixels],
        patch_px=size,
        codec=Codec.NONE,
        attributes={"fingerprint": f"f{number}", "slide": slide},
    )
    return pd.DataFrame(
        {
            "slide": slide,
            "patient": patient,
            "centre": "",
            "slide_label": "",
            "split": split,
            "shard": shard,
            "row": np.arange(n),
            "x": columns.x,
            "y": columns.y,
            "label": labels,
            "tissue_share": shares,
            "tumor_share": columns.tumor_share,
        }
    )


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of five slides with 20 to 16 patches of 32 pixels."""
    return draw_cohort(tmp_path_factory.mktemp("cohort"), per_slide=20)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of five slides with 12 to 8 patches of 96 pixels.

    Last maps of networks have several cells then: of one cell the mean is exact however many
    samples a graph was made for.
    """
    return draw_cohort(tmp_path_factory.mktemp("large"), per_slide=12, size=96)

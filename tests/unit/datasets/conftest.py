"""Three small shards whose pixels tell slide, row and place within the patch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lamella.patches.index import PatchIndex
from lamella.stores.codec import Codec
from lamella.stores.shards import PatchColumns, write_shard

SIZE = 16


def patch_of(slide: int, row: int) -> np.ndarray:
    """Return a patch whose top left pixel is ``(slide, row, 0)`` and whose rows differ."""
    patch = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    patch[..., 0], patch[..., 1] = slide, row
    patch[..., 2] = np.arange(SIZE)[:, None] * 2 + (np.arange(SIZE) > 11)
    return patch


@pytest.fixture
def index(tmp_path: Path) -> PatchIndex:
    """Slides 0 and 1 in training with 5 and 6 patches, slide 2 in test with 7."""
    tables = []
    for slide, split in enumerate(("train", "train", "test")):
        n = 5 + slide
        labels = np.arange(n, dtype=np.int16) % 3 - 1
        ones = np.ones(n, dtype=np.float32)
        columns = PatchColumns(np.arange(n), np.arange(n) * 3, ones, ones, labels)
        write_shard(
            tmp_path / f"s{slide}.h5",
            columns,
            [np.stack([patch_of(slide, row) for row in range(n)])],
            patch_px=SIZE,
            codec=Codec.NONE,
            attributes={"fingerprint": "f"},
        )
        tables.append(
            pd.DataFrame(
                {
                    "slide": f"s{slide}",
                    "split": split,
                    "shard": f"s{slide}.h5",
                    "row": np.arange(n),
                    "label": labels,
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return PatchIndex(table, ("normal", "tumor"), SIZE, 0.5, "d", tmp_path)

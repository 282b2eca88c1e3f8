"""Real patches in memory, and what the trained network says about them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamella.errors import StoreError
from lamella.patches.index import PatchIndex
from lamella.patches.pixels import open_patches
from lamella.stores.atomic import replacing

HELD_OUT = ("validation", "test")
"""Splits that engines are compared on."""

REFERENCE_NAME = "reference.parquet"
"""Answers of the trained network, beside ``parity.tsv``."""

_METADATA_KEY = b"lamella"
_KEPT = ["slide", "shard", "row", "x", "y", "split", "label"]


@dataclass(frozen=True)
class Reference:
    """What the trained network says about held-out patches.

    Attributes:
        table: The patches' rows of the index.
        probabilities: ``(n, classes)`` float32.
        index_digest: Digest of the index they were drawn from.
        models: SHA-256 of the model file of each format that was exported from it.
    """

    table: pd.DataFrame
    probabilities: NDArray[np.float32]
    index_digest: str
    models: dict[str, str]


def choose_patches(index: PatchIndex, *, most: int, seed: int) -> pd.DataFrame:
    """Return held-out patches, drawn without replacement, in the order of the index.

    Args:
        index: All patches.
        most: Most patches that are taken; all where there are fewer.
        seed: Seed of the draw.

    Raises:
        StoreError: no patch is held out.
    """
    held_out = index.table[index.table["split"].isin(HELD_OUT)]
    if held_out.empty:
        raise StoreError(
            "no patch belongs to the validation or test split",
            str(index.folder),
            "Give more slides, or larger shares in `split`",
        )
    places = np.random.default_rng(seed).permutation(len(held_out))[:most]
    return held_out.iloc[np.sort(places)]


def read_patches(table: pd.DataFrame, index: PatchIndex) -> NDArray[np.uint8]:
    """Return the pixels of rows of the index, ``(n, H, W, 3)`` uint8 RGB, in their order.

    Args:
        table: At least one row, with ``shard`` and ``row``.
        index: The index that they are of.
    """
    pixels: NDArray[np.uint8] | None = None
    for name, places in table.groupby("shard", sort=False).indices.items():
        shard = str(name)
        rows = table["row"].to_numpy(dtype=np.int64)[places]
        with open_patches(index.folder / shard, index.slide_paths.get(shard)) as reader:
            read = reader.read(rows)
        if pixels is None:
            pixels = np.empty((len(table), *read.shape[1:]), dtype=np.uint8)
        pixels[places] = read
    if pixels is None:
        raise ValueError("the table has no rows")
    return pixels


def batches(patches: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield consecutive batches of ``size`` patches; the last may be smaller."""
    for start in range(0, len(patches), size):
        yield patches[start : start + size]


def write_reference(path: Path, reference: Reference) -> None:
    """Write the reference answers as Parquet, in one step."""
    columns = reference.table[_KEPT].reset_index(drop=True)
    names = [f"probability_{each}" for each in range(reference.probabilities.shape[1])]
    answers = pd.DataFrame(reference.probabilities, columns=names)
    table = pa.Table.from_pandas(pd.concat([columns, answers], axis=1), preserve_index=False)
    about = {"index_digest": reference.index_digest, "models": reference.models}
    metadata = {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(about).encode()}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)


def read_reference(path: Path) -> Reference:
    """Return the reference answers that ``write_reference`` wrote.

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_METADATA_KEY])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise StoreError(
            f"the reference answers cannot be read ({error})",
            str(path),
            "Delete parity.tsv beside it and run `snakemake export` again",
        ) from error
    rows = table.to_pandas()
    names = [name for name in rows.columns if name.startswith("probability_")]
    return Reference(
        table=rows[_KEPT],
        probabilities=rows[names].to_numpy(dtype=np.float32),
        index_digest=str(about["index_digest"]),
        models=dict(about["models"]),
    )

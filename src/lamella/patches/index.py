"""The table of all patches of a cohort: one row a patch, in table order, then shard order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lamella.errors import StoreError
from lamella.stores.atomic import replacing

COLUMNS: dict[str, str] = {
    "slide": "str",
    "patient": "str",
    "centre": "str",
    "slide_label": "str",
    "split": "str",
    "shard": "str",
    "row": "int64",
    "x": "int64",
    "y": "int64",
    "label": "int16",
    "tissue_share": "float32",
    "tumor_share": "float32",
}
"""Name and type of each column; ``x`` and ``y`` are level-0 pixels, ``shard`` is relative to the
index's folder, ``row`` is the row within the shard."""

_METADATA_KEY = b"lamella"


@dataclass(frozen=True)
class PatchIndex:
    """The patches of a cohort.

    Attributes:
        table: One row a patch, with ``COLUMNS``.
        classes: Names of the labels 0, 1, …
        patch_px: Edge length of a patch in pixels.
        mpp: Microns per pixel of a patch.
        digest: SHA-256 of the table and of the shards' fingerprints.
        folder: The folder that ``shard`` is relative to.
        slide_paths: Where the slide lies, by shard, for shards that hold no pixels.
        contents: Digest of each slide's content, by slide: copies have the same one, whatever
            their names are. Slides whose file is not here are left out.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    patch_px: int
    mpp: float
    digest: str
    folder: Path
    slide_paths: Mapping[str, Path] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)


def write_index(path: Path, index: PatchIndex) -> None:
    """Write the index as Parquet, in one step."""
    about = {
        "classes": list(index.classes),
        "patch_px": index.patch_px,
        "mpp": index.mpp,
        "digest": index.digest,
        "slide_paths": {shard: str(slide) for shard, slide in index.slide_paths.items()},
        "contents": dict(index.contents),
    }
    columns = index.table.astype(COLUMNS)[list(COLUMNS)]
    table = pa.Table.from_pandas(columns, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(about).encode()}
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def read_index(path: Path) -> PatchIndex:
    """Return the index that ``write_index`` wrote.

    Raises:
        StoreError: the file is missing or not an index.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise _not_an_index(path, str(error)) from error
    if _METADATA_KEY not in (table.schema.metadata or {}):
        raise _not_an_index(path, "it was not written by Lamella")
    about = json.loads(table.schema.metadata[_METADATA_KEY])
    try:
        return PatchIndex(
            table=table.to_pandas(),
            classes=tuple(about["classes"]),
            patch_px=int(about["patch_px"]),
            mpp=float(about["mpp"]),
            digest=str(about["digest"]),
            folder=path.parent,
            slide_paths={shard: Path(slide) for shard, slide in about["slide_paths"].items()},
            contents=about["contents"],
        )
    except KeyError as error:
        raise _not_an_index(path, f"an older Lamella wrote it, without {error}") from error


def _not_an_index(path: Path, why: str) -> StoreError:
    return StoreError(
        f"the patch index cannot be read ({why})",
        str(path),
        "Delete it and run `snakemake patches` again; no patch is extracted anew",
    )

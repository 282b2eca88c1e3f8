"""The table of all patches."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lamella.errors import StoreError
from lamella.patches.index import read_index


def test_index_of_an_older_lamella_is_refused_with_a_remedy(results, tmp_path: Path) -> None:
    table = pq.read_table(results.index)
    about = json.loads(table.schema.metadata[b"lamella"])
    del about["slide_paths"]
    older = table.replace_schema_metadata({b"lamella": json.dumps(about).encode()})
    pq.write_table(older, tmp_path / "index.parquet")
    with pytest.raises(StoreError, match=r"without 'slide_paths'.* Delete it and run"):
        read_index(tmp_path / "index.parquet")

"""Patches that were drawn by annotated class say nothing of their slide."""

import numpy as np
import pandas as pd
import pytest

from lamella.evaluation.sampling import index_remark, score_remark
from lamella.patches.index import PatchIndex
from lamella.patches.settings import LabelSource, PatchSettings, Sampling
from lamella.stores.codec import Codec
from lamella.stores.json_files import canonical
from lamella.stores.shards import PatchColumns, write_shard


@pytest.mark.parametrize("sampling", [Sampling.RANDOM, Sampling.BALANCED])
def test_patches_drawn_by_annotated_class_make_no_score(sampling):
    assert "drawn by annotated class" in score_remark(sampling, LabelSource.ANNOTATION)


@pytest.mark.parametrize(
    ("sampling", "source"),
    [
        (Sampling.GRID, LabelSource.ANNOTATION),
        (Sampling.ALL, LabelSource.ANNOTATION),
        # All windows of a slide have its label: a draw of one class is a draw of all.
        (Sampling.RANDOM, LabelSource.SLIDE),
    ],
)
def test_patches_that_were_not_drawn_by_annotation_make_a_score(sampling, source):
    assert score_remark(sampling, source) == ""


def index_of(folder, settings):
    one = np.ones(1)
    columns = PatchColumns(
        *(one.astype(np.int64), one.astype(np.int64)),
        *(one.astype(np.float32), one.astype(np.float32), one.astype(np.int16)),
    )
    write_shard(
        folder / "slides/s.h5",
        columns,
        [np.zeros((1, 16, 16, 3), dtype=np.uint8)],
        patch_px=16,
        codec=Codec.NONE,
        attributes={"fingerprint": "f", "settings": canonical(settings)},
    )
    table = pd.DataFrame({"shard": ["slides/s.h5"]})
    return PatchIndex(table, ("normal", "tumor"), 16, 0.5, "d", folder)


def test_an_index_says_how_its_patches_were_chosen(tmp_path):
    # Balanced over patients: drawn when they were extracted, too.
    drawn = PatchSettings(sampling="balanced", balance_per="patient").of_extraction()
    assert "no score" in index_remark(index_of(tmp_path / "a", drawn.as_params()))
    grid = PatchSettings().of_extraction()
    assert index_remark(index_of(tmp_path / "b", grid.as_params())) == ""
    assert index_remark(index_of(tmp_path / "c", {"imported_from": "x.h5"})) == ""

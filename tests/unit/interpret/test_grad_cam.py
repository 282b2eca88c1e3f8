"""A trained network's patches are explained, with a picture and a row each."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamella.export.settings import SelectionMetric
from lamella.interpret.about import ABOUT, read_reason
from lamella.interpret.grad_cam import COLUMNS, explain_patches
from lamella.interpret.pictures import draw_explanation
from lamella.interpret.settings import InterpretSettings
from lamella.models.networks import build_network
from lamella.models.weights import stored_weights
from lamella.patches.index import read_index
from lamella.stores.tables import read_table
from lamella.tracking.record import read_record
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import BEST, load_trained, save_trained
from lamella.training.result_files import PREDICTIONS
from lamella.training.settings import RunSettings


@pytest.fixture
def trained(results, tmp_path):
    """Copy the trained seeds and give each answers: sure of the label, less so row by row."""
    paths = []
    table = read_index(results.index).table
    held_out = table[table["split"] != "train"]
    certainty = 0.99 - 0.01 * np.arange(len(held_out))
    tumor = np.where(held_out["label"] == 1, certainty, 1 - certainty)
    answers = held_out[["slide", "patient", "split", "x", "y", "label"]].assign(
        probability_normal=1 - tumor, probability_tumor=tumor
    )
    for metrics in results.metrics:
        folder = shutil.copytree(metrics.parent, tmp_path / "train" / metrics.parent.name)
        answers.to_parquet(folder / PREDICTIONS)
        paths.append(folder / metrics.name)
    return paths


@pytest.fixture
def explain(trained, results, tmp_path, monkeypatch):
    """Explain three patches a class; return the table."""
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "grad_cam/explanations.tsv"

    def run(**changes):
        explain_patches(
            index=results.index,
            metrics=trained,
            output=output,
            run="tiny",
            metric=SelectionMetric.AUC,
            settings=InterpretSettings(**{"patches_per_class": 3, **changes}),
            tracking=TrackingSettings(uri="http://127.0.0.1:9"),
        )
        return output

    return run


def test_the_best_seed_is_explained_with_a_picture_per_patch(explain):
    output = explain()
    rows = read_table(output)
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == ["tumor"] * 3 + ["normal"] * 3
    assert {row["slide"] for row in rows} == {"c"}  # the only slide of the test split
    # Every third patch of slide c, from the first on, is a tumour; patches lie 96 and 7 apart.
    assert [(row["x"], row["y"]) for row in rows[:3]] == [("0", "0"), ("288", "21"), ("576", "42")]
    for row in rows:
        assert row["predicted"] == row["label"]
        assert float(row["lift"]) == pytest.approx(
            float(row["cam_on_dark_share"]) / float(row["dark_share"]), abs=1e-3
        )
        with Image.open(output.parent / row["file"]) as image:
            assert image.width > image.height
    record = read_record(output.parent)
    assert (record.kind, record.params["seed"]) == ("explanation", "2")
    assert read_reason(output.with_name(ABOUT)) == ""


def test_pictures_of_an_earlier_run_are_removed_and_only_those_of_this_one_are_tracked(explain):
    folder = explain().parent
    (folder / "patches" / "notes.txt").write_text("mine")
    rows = read_table(explain(patches_per_class=1))
    assert len(rows) == 2
    drawn = {row["file"] for row in rows}
    assert {f"patches/{path.name}" for path in (folder / "patches").glob("*.png")} == drawn
    assert read_record(folder).artifacts == [
        "explanations.tsv",
        "about.json",
        *(row["file"] for row in rows),
    ]


def test_classes_may_have_names_that_are_no_names_of_attributes(trained, explain):
    names = {"normal": "benign tissue", "tumor": "tumor-like"}
    for metrics in trained:
        path = metrics.with_name(PREDICTIONS)
        columns = {f"probability_{old}": f"probability_{new}" for old, new in names.items()}
        pd.read_parquet(path).rename(columns=columns).to_parquet(path)
        model = replace(load_trained(metrics), classes=tuple(names.values()))
        save_trained(metrics.with_name(BEST), model)
    rows = read_table(explain())
    assert [row["predicted"] for row in rows] == ["tumor-like"] * 3 + ["benign tissue"] * 3


def test_a_transformer_gets_a_table_without_rows_and_the_reason(trained, explain):
    for metrics in trained:
        transformer = replace(
            load_trained(metrics),
            weights=stored_weights(build_network("test_vit", 2)),
            run=RunSettings(model="test_vit"),
            patch_px=160,
        )
        save_trained(metrics.with_name(BEST), transformer)
    output = explain()
    assert output.read_text(encoding="utf-8") == "\t".join(COLUMNS) + "\n"
    assert "test_vit: stage blocks.5 gives (1, 101, 64)" in read_reason(output.with_name(ABOUT))
    assert read_record(output.parent).artifacts == ["explanations.tsv", "about.json"]


def test_the_picture_shows_the_patch_at_the_left_and_colours_only_where_the_map_is():
    patch = np.full((224, 224, 3), (120, 130, 140), dtype=np.uint8)
    cam = np.zeros((224, 224), dtype=np.float32)
    cam[:, 112:] = 1.0
    pixels = np.asarray(draw_explanation(patch, cam))
    assert pixels.shape == (224, 454, 3)
    assert pixels[10, 10].tolist() == pixels[200, 240].tolist() == [120, 130, 140]
    assert pixels[10, 440].tolist() != [120, 130, 140]

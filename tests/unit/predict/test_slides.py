"""Slides are predicted by an engine, resumed by content, and left out where they failed."""

import logging
from threading import Semaphore

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from lamella.datasets.settings import TargetKind
from lamella.engines.load import load_engine
from lamella.engines.settings import EngineName
from lamella.engines.verdict import COLUMNS as PARITY_COLUMNS
from lamella.errors import SettingsError, StoreError
from lamella.export.description import (
    ModelDescription,
    Origin,
    TensorDescription,
    file_digest,
    write_description,
)
from lamella.fleet.manifest import ManifestRow, Status, read_manifest, write_manifest
from lamella.fleet.settings import FleetSettings
from lamella.patches.settings import PatchSettings
from lamella.predict.patches import predict_patches
from lamella.predict.predictions import read_predictions
from lamella.predict.settings import PredictSettings
from lamella.predict.slides import predict_slides
from lamella.settings import Device
from lamella.stores.codec import Codec
from lamella.stores.shards import PatchColumns, ShardReader, write_shard
from lamella.stores.tables import read_table, write_table
from lamella.tissue.mask import TissueMask, write_mask
from lamella.tracking.record import read_record
from lamella.tracking.settings import TrackingSettings
from lamella.units import Level0Pixels

PATCH_PX = 8
EDGE_L0 = 16
REDS = {"wide": [255, 0, 51, 102], "plain": [0, 0, 51]}
PLACES = {"wide": [(0, 0), (16, 0), (32, 0), (64, 16)], "plain": [(0, 0), (16, 0), (16, 16)]}


def write_redness(folder, *, most=255.0):
    """Export a model whose tumour probability is the mean of red over ``most``."""
    shape = ["n", PATCH_PX, PATCH_PX, 3]
    pixels = helper.make_tensor_value_info("patches", TensorProto.UINT8, shape)
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    nodes = [
        helper.make_node("Cast", ["patches"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["colours"], keepdims=0),
        helper.make_node("Gather", ["colours", "red"], ["bright"], axis=1),
        helper.make_node("Div", ["bright", "most"], ["tumor"]),
        helper.make_node("Sub", ["one", "tumor"], ["normal"]),
        helper.make_node("Concat", ["normal", "tumor"], ["probabilities"], axis=1),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("red", TensorProto.INT64, [1], [0]),
        helper.make_tensor("most", TensorProto.FLOAT, [], [most]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
    ]
    graph = helper.make_graph(nodes, "redness", [pixels], [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "onnx/model.onnx")
    write_description(folder / "onnx", describe(folder / "onnx/model.onnx"))


def describe(model):
    tensor = TensorDescription
    return ModelDescription(
        format="onnx",
        file=model.name,
        digest=file_digest(model),
        opset=18,
        inputs=(
            tensor(name="patches", dtype="uint8", shape=(-1, PATCH_PX, PATCH_PX, 3), layout="NHWC"),
        ),
        outputs=(tensor(name="probabilities", dtype="float32", shape=(-1, 2), layout="NC"),),
        classes=("normal", "tumor"),
        patch_px=PATCH_PX,
        mpp=0.5,
        origin=Origin(
            run="thin", seed=1, metrics="", metric="auc", value=1.0, index_digest="0" * 64
        ),
        lamella_version="0",
        torch_version="0",
    )


def write_slide(root, slide, fingerprint):
    reds, places = REDS[slide], PLACES[slide]
    x, y = np.array(places).T
    n = len(reds)
    columns = PatchColumns(
        x=x,
        y=y,
        tissue_share=np.ones(n, dtype=np.float32),
        tumor_share=np.zeros(n, dtype=np.float32),
        label=np.zeros(n, dtype=np.int16),
    )
    patches = np.zeros((n, PATCH_PX, PATCH_PX, 3), dtype=np.uint8)
    patches[..., 0] = np.array(reds)[:, None, None]
    patches[..., 2] = 77
    attributes = {"fingerprint": fingerprint, "mpp_requested": 0.5, "edge_l0": EDGE_L0}
    write_shard(
        root / f"patches/slides/{slide}.h5",
        columns,
        [patches],
        patch_px=PATCH_PX,
        codec=Codec.NONE,
        attributes={**attributes, "patch_px": PATCH_PX, "classes": ["normal", "tumor"]},
    )
    mask = TissueMask(np.ones((8, 20), dtype=bool), Level0Pixels(4))
    write_mask(root / f"masks/slides/{slide}.png", mask, fingerprint="m")
    (root / "masks/thumbnails").mkdir(exist_ok=True)
    Image.new("RGB", (20, 8), (220, 150, 190)).save(root / f"masks/thumbnails/{slide}.jpg")
    return n


OTHER = {"valid": "invalid", "invalid": "valid", "unavailable": "valid"}


def write_parity(root, verdict, reason=""):
    """Write the row of f32, by which alone slides are predicted, behind one of bf16."""
    half = {"engine": "onnxruntime", "precision": "bf16", "verdict": OTHER[verdict]}
    row = {"engine": "onnxruntime", "precision": "f32", "verdict": verdict, "reason": reason}
    write_table(root / "export/parity.tsv", PARITY_COLUMNS, [half, row])


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Two good slides and one that failed before, in a results folder."""
    monkeypatch.chdir(tmp_path)
    slides = ["wide", "torn", "plain"]
    rows = [{"slide": name, "path": f"{name}.svs", "label": f"l_{name}"} for name in slides]
    write_table(tmp_path / "slides.tsv", ("slide", "path", "label"), rows)
    splits = [
        {"slide": name, "patient": name, "split": split}
        for name, split in zip(slides, ("test", "train", "train"), strict=True)
    ]
    write_table(tmp_path / "splits.tsv", ("slide", "patient", "split"), splits)
    torn = ManifestRow("torn", Status.FAILED, error="torn.svs: torn. Mend it.", stage="masks")
    for room, suffix in (("masks", "png"), ("patches", "h5")):
        good = {
            name: ManifestRow(name, Status.DONE, f"slides/{name}.{suffix}", 3, f"{room} {name}")
            for name in ("wide", "plain")
        }
        write_manifest(tmp_path / f"{room}/manifest.tsv", [good["wide"], torn, good["plain"]])
    for name in ("wide", "plain"):
        write_slide(tmp_path, name, f"patches {name}")
    write_redness(tmp_path / "export")
    write_parity(tmp_path, "valid")
    return tmp_path


GRID = PatchSettings()


def predict(root, patch_settings=GRID, **changes):
    predict_slides(
        slides=root / "slides.tsv",
        splits=root / "splits.tsv",
        masks=root / "masks/manifest.tsv",
        patches=root / "patches/manifest.tsv",
        export_folder=root / "export",
        parity=root / "export/parity.tsv",
        manifest=root / "predict/thin/manifest.tsv",
        scores=root / "predict/thin/scores.tsv",
        settings=PredictSettings(**{"batch_size": 3, "top_share": 0.5, **changes}),
        patch_settings=patch_settings,
        fleet=FleetSettings(max_workers=1),
        tracking=TrackingSettings(uri="http://127.0.0.1:9"),
    )


def test_slides_get_predictions_heatmaps_and_scores_and_are_not_done_twice(cohort, caplog):
    predict(cohort)
    folder = cohort / "predict/thin"
    rows = read_manifest(folder / "manifest.tsv")
    assert [(row.slide, row.status, row.n) for row in rows.values()] == [
        ("wide", "done", 4),
        ("torn", "failed", 0),
        ("plain", "done", 3),
    ]
    assert rows["torn"].error == "torn.svs: torn. Mend it."

    wide = read_predictions(folder / "slides/wide.h5")
    assert list(zip(wide.x, wide.y, strict=True)) == PLACES["wide"]
    np.testing.assert_allclose(wide.of("tumor"), [1.0, 0.0, 0.2, 0.4], atol=1e-6)

    scores = read_table(folder / "scores.tsv")
    assert [(row["slide"], row["split"], row["label"], row["score"]) for row in scores] == [
        ("wide", "test", "l_wide", "0.700000"),
        ("torn", "train", "l_torn", ""),
        ("plain", "train", "l_plain", "0.100000"),
    ]
    assert scores[0]["share_above_half"] == "0.250000"
    assert {row["remark"] for row in scores} == {""}

    # The slide is 80 x 32 level-0 pixels, its picture 800 x 320: the first patch is 160 wide.
    with Image.open(folder / "heatmaps/wide.png") as image:
        heatmap = np.asarray(image.convert("RGB")).astype(int)
    assert heatmap[80, 80, 0] > heatmap[80, 80, 2] + 60  # probability 1 at (0, 0): red
    assert heatmap[80, 240, 2] > heatmap[80, 240, 0] + 60  # probability 0 beside it: blue
    assert np.ptp(heatmap[240, 240]) == 0  # nothing was predicted below

    assert read_record(folder).kind == "prediction"
    with caplog.at_level(logging.INFO):
        predict(cohort)
    assert "predict_slides: 0 slides to do, 3 already done" in caplog.text


def test_every_batch_of_a_slide_is_full_on_a_gpu(cohort, monkeypatch):
    engine = load_engine(EngineName.ONNXRUNTIME, cohort / "export", threads=1)
    infer, lengths = engine.infer, []

    def counted(patches):
        lengths.append(len(patches))
        return infer(patches)

    # What it is asked on a GPU is seen here, too; it goes on computing on the CPU.
    monkeypatch.setattr(engine, "device", Device.CUDA)
    monkeypatch.setattr(engine, "infer", counted)
    shard = cohort / "patches/slides/wide.h5"
    found = predict_patches(shard, None, engine, batch_size=3, readers=1)
    assert lengths == [3, 3]
    np.testing.assert_allclose(found.of("tumor"), [1.0, 0.0, 0.2, 0.4], atol=1e-6)


def test_patches_are_read_while_the_engine_computes_and_keep_their_answers(cohort, monkeypatch):
    engine = load_engine(EngineName.ONNXRUNTIME, cohort / "export", threads=1)
    infer, read, ahead = engine.infer, ShardReader.read, Semaphore(0)

    def slow(patches):
        # Two more batches are read before this one is answered.
        assert ahead.acquire(timeout=120)
        return infer(patches)

    def counted(self, rows):
        found = read(self, rows)
        if rows[0] > 1:
            ahead.release(2)
        return found

    monkeypatch.setattr(engine, "infer", slow)
    monkeypatch.setattr(ShardReader, "read", counted)
    shard = cohort / "patches/slides/wide.h5"
    found = predict_patches(shard, None, engine, batch_size=1, readers=2)
    np.testing.assert_allclose(found.of("tumor"), [1.0, 0.0, 0.2, 0.4], atol=1e-6)


def test_settings_that_change_no_probability_predict_nothing_again(cohort, caplog):
    predict(cohort)
    with caplog.at_level(logging.INFO):
        predict(cohort, top_share=0.25, batch_size=2, threads=2)
    assert "predict_slides: 0 slides to do, 3 already done" in caplog.text
    scores = read_table(cohort / "predict/thin/scores.tsv")
    assert [row["score"] for row in scores] == ["1.000000", "", "0.200000"]


def test_another_target_is_drawn_from_the_stored_probabilities(cohort, caplog):
    predict(cohort)
    path = cohort / "predict/thin/slides/wide.h5"
    before, red = path.stat().st_mtime_ns, heatmap_of(cohort, "wide")
    with caplog.at_level(logging.INFO):
        predict(cohort, target="normal")
    assert "predict_slides: 2 slides to do, 1 already done" in caplog.text
    assert path.stat().st_mtime_ns == before
    assert red[80, 80, 0] > red[80, 80, 2]
    blue = heatmap_of(cohort, "wide")
    assert blue[80, 80, 0] < blue[80, 80, 2]


@pytest.mark.parametrize("damage", ["absent", "torn", "of others"])
def test_a_heatmap_that_is_not_of_these_predictions_is_made_anew(cohort, damage):
    predict(cohort)
    heatmaps = cohort / "predict/thin/heatmaps"
    right = (heatmaps / "plain.png").read_bytes()
    if damage == "absent":
        (heatmaps / "plain.png").unlink()
    else:
        wrong = right[:-200] if damage == "torn" else (heatmaps / "wide.png").read_bytes()
        (heatmaps / "plain.png").write_bytes(wrong)
    predict(cohort)
    assert (heatmaps / "plain.png").read_bytes() == right


def test_a_slide_whose_thumbnail_is_gone_says_how_to_get_it_back(cohort):
    (cohort / "masks/thumbnails/wide.jpg").unlink()
    predict(cohort)
    rows = read_manifest(cohort / "predict/thin/manifest.tsv")
    assert "thumbnail cannot be read" in rows["wide"].error
    assert f"{cohort / 'masks/manifest.tsv'}, then run the workflow" in rows["wide"].error
    assert rows["plain"].status == "done"


def heatmap_of(root, slide):
    with Image.open(root / f"predict/thin/heatmaps/{slide}.png") as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_patches_drawn_by_annotation_give_heatmaps_and_a_remark_but_no_score(cohort):
    predict(cohort, PatchSettings(sampling="random", keep_unlabelled=False))
    wide, torn, _ = read_table(cohort / "predict/thin/scores.tsv")
    figures = ("score", "mean_probability", "share_above_half")
    assert [wide[name] for name in figures] == ["", "", ""]
    assert (wide["n"], wide["status"]) == ("4", "done")
    assert wide["remark"].startswith("no score: patches were drawn by annotated class")
    assert torn["remark"] == ""
    assert (cohort / "predict/thin/heatmaps/wide.png").exists()


@pytest.mark.parametrize("verdict", ["invalid", "unavailable"])
def test_an_engine_that_is_not_proven_predicts_no_slide(cohort, verdict):
    write_parity(cohort, verdict, "differs by 0.3, limit 0.0001")
    with pytest.raises(SettingsError, match=rf"{verdict} in .*parity.tsv \(differs by 0.3"):
        predict(cohort)
    assert not (cohort / "predict").exists()


def test_an_engine_that_was_never_compared_predicts_no_slide(cohort):
    with pytest.raises(StoreError, match="torch in f32 was not compared"):
        predict(cohort, engine="torch")


def test_the_tracked_dataset_is_the_content_of_the_patches_and_nothing_else(cohort):
    def tracked():
        predict(cohort)
        [dataset] = read_record(cohort / "predict/thin").datasets
        return dataset.digest

    first = tracked()
    write_redness(cohort / "export", most=510.0)  # other predictions of the same patches
    assert tracked() == first
    manifest = cohort / "patches/manifest.tsv"
    moved = manifest.read_text().replace("slides/wide.h5", "../patches/slides/wide.h5")
    manifest.write_text(moved)
    assert tracked() == first
    manifest.write_text(moved.replace("patches wide", "other pixels"))
    assert tracked() != first


def test_a_class_that_the_model_does_not_know_is_refused(cohort):
    with pytest.raises(SettingsError, match="Choose one of normal, tumor"):
        predict(cohort, target="tumour")


def test_damaged_predictions_are_named(tmp_path):
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layout"] = "something else"
    with pytest.raises(StoreError, match=r"wide\.h5: the predictions cannot be read"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        # The answers to red 255, 0, 51 and 102: of "low" 0, 1, 0.8 and 0.6.
        ("multi_label", ["0.900000", "0.600000", "0.750000"]),
        ("regression", ["0.600000", "", ""]),
    ],
)
def test_of_labels_and_numbers_the_first_is_drawn_and_scored(cohort, kind, figures):
    folder = cohort / "export/onnx"
    numbers = {"means": (0.5, 9.0), "deviations": (0.25, 1.0)} if kind == "regression" else {}
    changes = {"kind": TargetKind(kind), "classes": ("low", "high"), **numbers}
    write_description(folder, describe(folder / "model.onnx").model_copy(update=changes))
    predict(cohort)
    row = read_table(cohort / "predict/thin/scores.tsv")[0]
    assert [row[name] for name in ("score", "mean_probability", "share_above_half")] == figures
    assert read_predictions(cohort / "predict/thin/slides/wide.h5").classes == ("low", "high")

"""The tables of a small run, as the other layers write them, without running any of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamella.benchmark.summarise import COLUMNS as BENCHMARK_COLUMNS
from lamella.benchmark.summarise import SCENARIO_COLUMNS
from lamella.charts import share_chart
from lamella.datasets.settings import TargetKind
from lamella.engines.verdict import COLUMNS as PARITY_COLUMNS
from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.interpret.about import ABOUT, write_about
from lamella.interpret.grad_cam import COLUMNS as EXPLANATION_COLUMNS
from lamella.patches.index import PatchIndex, write_index
from lamella.predict.heatmap import LEGEND_PX
from lamella.predict.slides import SCORE_COLUMNS
from lamella.report.inputs import ReportInputs
from lamella.stores.atomic import write_text
from lamella.stores.json_files import write_json
from lamella.stores.tables import write_table
from lamella.tissue.mask import TissueMask, write_mask
from lamella.tissue.quality import COLUMNS as QUALITY_COLUMNS
from lamella.training.result_files import history_columns
from lamella.training.summarise import summarise_runs
from lamella.units import Level0Pixels
from lamella.workloads.table import COLUMNS as WORKLOAD_COLUMNS

SLIDES = ("low", "high", "torn")
SPLITS = ("test", "test", "train")
ERROR = "torn.svs: is <em>torn</em> & bent. Mend it."


@dataclass(frozen=True)
class Folder:
    """Where the small run lies."""

    inputs: ReportInputs
    page: object


@pytest.fixture
def small_run(tmp_path):
    write_cohort(tmp_path)
    metrics = [write_training(tmp_path, seed, auc) for seed, auc in ((1, 0.9), (2, 0.8))]
    summarise_runs(metrics, tmp_path / "train/summary.tsv")
    write_engines(tmp_path)
    write_predictions_of(tmp_path)
    write_explanations(tmp_path)
    inputs = ReportInputs(
        slides=tmp_path / "cohort/slides.tsv",
        splits=tmp_path / "cohort/splits.tsv",
        masks=tmp_path / "masks/manifest.tsv",
        quality=tmp_path / "masks/quality.tsv",
        patches=tmp_path / "patches/manifest.tsv",
        index=tmp_path / "patches/index.parquet",
        summary=tmp_path / "train/summary.tsv",
        metrics=metrics,
        parity=[tmp_path / "export/thin/parity.tsv"],
        predictions=[tmp_path / "predict/thin/manifest.tsv"],
        scores=[tmp_path / "predict/thin/scores.tsv"],
        explanations=[tmp_path / "interpret/thin/grad_cam/explanations.tsv"],
        benchmark=tmp_path / "benchmark/summary.tsv",
        scenarios=tmp_path / "benchmark/scenarios.tsv",
        workloads=[],
        results=tmp_path,
    )
    return Folder(inputs, tmp_path / "report/index.html")


def write_cohort(root):
    rows = [{"slide": name, "path": f"{name}.svs", "patient": f"p_{name}"} for name in SLIDES]
    write_table(root / "cohort/slides.tsv", ("slide", "path", "patient"), rows)
    splits = [
        {"slide": name, "patient": name, "split": split}
        for name, split in zip(SLIDES, SPLITS, strict=True)
    ]
    write_table(root / "cohort/splits.tsv", ("slide", "patient", "split"), splits)
    torn = ManifestRow("torn", Status.FAILED, error=ERROR, stage="segment_tissue")
    for room, n in (("masks", 60), ("patches", 3), ("predict/thin", 3)):
        good = [ManifestRow(name, Status.DONE, f"slides/{name}.png", n, "f") for name in SLIDES[:2]]
        write_manifest(root / room / "manifest.tsv", [*good, torn])
    for number, name in enumerate(SLIDES[:2]):
        pixels = np.zeros((6, 20), dtype=bool)
        pixels[1:4, 2 : 12 + number] = True
        mask = TissueMask(pixels, Level0Pixels(8))
        write_mask(root / f"masks/slides/{name}.png", mask, fingerprint="f")
        (root / "masks/thumbnails").mkdir(exist_ok=True)
        thumbnail = Image.new("RGB", (20, 6), (220, 150, 190 - number))
        thumbnail.save(root / f"masks/thumbnails/{name}.jpg")
    write_quality(root)
    write_index(root / "patches/index.parquet", patch_index(root))


def write_quality(root):
    shares = (
        {"tissue_share": "0.250000", "pen_share": "0.125000", "fold_share": "0.004000"},
        {"tissue_share": "0.500000", "pen_share": "0.020000", "fold_share": "0.300000"}
        | {"blur_share": "0.067800"},
        {},
    )
    rows = [{"slide": name, **of} for name, of in zip(SLIDES, shares, strict=True)]
    for row in rows[:2]:
        row["gap_share"] = "0.000000"
    write_table(root / "masks/quality.tsv", QUALITY_COLUMNS, rows)


def patch_index(root):
    table = pd.DataFrame(
        {
            "slide": ["low"] * 3 + ["high"] * 3,
            "label": [0, 0, -1, 1, 1, 0],
            "row": [0, 1, 2, 0, 1, 2],
            **dict.fromkeys(("patient", "centre", "slide_label", "split", "shard"), ""),
            **dict.fromkeys(("x", "y", "tissue_share", "tumor_share"), 0),
        }
    )
    return PatchIndex(table, ("normal", "tumor"), 64, 0.5, "d", root)


def write_training(root, seed, auc):
    folder = root / f"train/thin/seed{seed}"
    judged = {"n": 5, "auc": auc, "average_precision": auc, "accuracy": 0.7}
    judged |= {"balanced_accuracy": 0.7, "loss": 0.5, "bootstrap": {"patients": 3}}
    judged["intervals"] = {"auc": [auc - 0.05, auc + 0.05]}
    slides = {"auc": auc - 0.5, "intervals": {"auc": None}, "bootstrap": {"patients": 3}}
    judged["slide"] = {"n": 2, "remark": "", "top_k": slides}
    judged["patient"] = {"n": 0, "remark": "drawn <so>", "top_k": None}
    history = [
        {"epoch": epoch, "train_loss": 0.8 / epoch, "validation_loss": 0.9 / epoch}
        | {"validation_auc": auc - 0.1 / epoch}
        for epoch in (1, 2, 3)
    ]
    write_table(folder / "history.tsv", history_columns(TargetKind.CLASSES), history)
    settings = {"epochs": 3, "patience": 2, "batch_size": 8, "accumulate": 5, "optimiser": "adamw"}
    content = {
        "run": "thin",
        "seed": seed,
        "settings": {**settings, "learning_rate": 0.001, "model": "resnet50"},
        "best_epoch": 2,
        "world_size": 2,
        "backend": "horovod",
        "patch_px": 64,
        "mpp": 0.5,
        "validation": judged,
        "test": judged,
        "timings": {"seconds_per_epoch": 1.0, "samples_per_s": 10.0},
    }
    write_json(folder / "metrics.json", content)
    for name in ("roc", "calibration", "confusion"):
        picture = share_chart([], title=f"{name} {seed}", x_name="x", y_name="y")
        write_text(folder / f"pictures/{name}.svg", picture)
    return folder / "metrics.json"


def write_engines(root):
    parity = [
        {
            "engine": "torch",
            "precision": "f32",
            "verdict": "valid",
            "n": 5,
            "max_abs_difference": "0.0",
            "limit": "1e-4",
        },
        {
            "engine": "torch",
            "precision": "bf16",
            "verdict": "invalid",
            "n": 5,
            "max_abs_difference": "0.3",
            "limit": "0.05",
            "reason": "differs by 0.3, limit 0.05",
        },
        {"engine": "openvino", "verdict": "unavailable", "reason": "its library is absent"},
    ]
    write_table(root / "export/thin/parity.tsv", PARITY_COLUMNS, parity)
    shared = {"case": "patches", "batch_size": 1, "comparable": "yes", "host": "node", "cpu": "X"}
    shared["precision"] = "f32"
    speeds = (("torch", "valid", "40.0"), ("onnxruntime", "valid", "100.0"))
    timed = [
        {**shared, "engine": engine, "verdict": verdict, "patches_per_s": speed}
        for engine, verdict, speed in (*speeds, ("openvino", "invalid", "900.0"))
    ]
    write_table(root / "benchmark/summary.tsv", BENCHMARK_COLUMNS, timed)
    single = {"scenario": "single_stream", "figure": "latency_ms_p90", "patches_per_query": 1}
    server = {"scenario": "server", "figure": "queries_per_s", "bound_ms": "15"}
    shared = {**shared, "verdict": "valid", "queries": 100}
    played = [
        {**shared, **single, "engine": "torch", "value": "25.500"},
        {**shared, **server, "engine": "torch", "value": "21.000"},
        {**shared, **single, "engine": "onnxruntime", "value": "9.250"},
        {**shared, **server, "engine": "onnxruntime", "value": ""},
        {"engine": "openvino", "verdict": "unavailable", "reason": "its library is absent"},
    ]
    write_table(root / "benchmark/scenarios.tsv", SCENARIO_COLUMNS, played)


@pytest.fixture
def workloads(small_run):
    """Return the table of the workloads and its pictures."""
    root = small_run.inputs.results
    shared = {"case": "ct", "size": "small", "precision": "f32", "threads": 2, "limit": "0.0001"}
    shared |= {"comparable": "no: smaller than in the paper", "host": "node", "cpu": "X"}
    shared |= {"items": 40, "run_items": 40}
    times = {"batch_size": 1, "mode": "sequential", "total_ms_mean": "250.000"}
    times |= {"total_ms_sd": "7.071", "nn_inference_ms": "240.000"}
    times |= {"nn_inference_call_ms_mean": "30.000", "nn_inference_call_ms_sd": "6.124"}
    rows = [
        {**shared, **times, "engine": "torch", "verdict": "valid", "comparable": "yes"},
        {**shared, **times, "engine": "openvino", "verdict": "invalid", "reason": "differs <b>"},
        {
            **shared,
            "engine": "tensorflow",
            "verdict": "unavailable",
            "reason": "its library is absent",
        },
    ]
    write_table(root / "benchmark/workloads.tsv", WORKLOAD_COLUMNS, rows)
    for name in ("stages", "parity"):
        picture = share_chart([], title=f"{name} of workloads", x_name="x", y_name="y")
        write_text(root / f"benchmark/{name}.svg", picture)
    names = ("workloads.tsv", "stages.svg", "parity.svg")
    return [root / "benchmark" / name for name in names]


def write_predictions_of(root):
    scores = [
        {"slide": name, "split": split, "status": "done", "n": 3, "score": score}
        | {"mean_probability": score, "share_above_half": "0.5"}
        for name, split, score in (("low", "test", "0.1"), ("high", "test", "0.95"))
    ]
    torn = {"slide": "torn", "split": "train", "status": "failed", "n": 0}
    write_table(root / "predict/thin/scores.tsv", SCORE_COLUMNS, [*scores, torn])
    (root / "predict/thin/heatmaps").mkdir()
    for name in SLIDES[:2]:
        heatmap = Image.new("RGB", (400, 120 + LEGEND_PX), (10, 20, 200))
        heatmap.save(root / f"predict/thin/heatmaps/{name}.png")


def write_explanations(root):
    folder = root / "interpret/thin/grad_cam"
    rows = [
        {"slide": "high", "x": x, "y": 5, "label": "tumor", "predicted": predicted}
        | {"probability": "0.9", "lift": lift, "file": f"patches/{x}.png"}
        for x, predicted, lift in ((64, "tumor", "1.5"), (128, "normal", "2.5"))
    ]
    write_table(folder / "explanations.tsv", EXPLANATION_COLUMNS, rows)
    write_about(
        folder / ABOUT,
        method="grad_cam",
        model="resnet50",
        seed=1,
        kind=TargetKind.CLASSES,
        reason="",
    )
    (folder / "patches").mkdir()
    for row in rows:
        Image.new("RGB", (454, 224), (90, 0, 90)).save(folder / row["file"])

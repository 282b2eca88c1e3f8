"""Trainings on labels and numbers of the slide table, from the table to an engine's answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import lamella.training.torch_learner
import lamella.training.train
from lamella.engines.load import load_engine
from lamella.engines.parity import check_parity
from lamella.engines.settings import EngineName, ParitySettings
from lamella.errors import CohortErrors, SettingsError, StoreError
from lamella.export.description import ModelFormat, read_description
from lamella.export.export import export_model
from lamella.export.settings import ExportSettings
from lamella.interpret.grad_cam import explain_patches
from lamella.interpret.settings import InterpretSettings
from lamella.report.training import training_section
from lamella.stores.json_files import read_json
from lamella.stores.shards import ShardReader
from lamella.stores.tables import read_table, write_table
from lamella.tracking.record import Record
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import load_trained
from lamella.training.compare import compare_runs
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.summarise import summarise_runs
from lamella.training.train import train_model

# Of the labels, nothing is known of s1: 19 of the 57 training patches are left out.
CELLS = {
    "er": ("1", "", "0", "1", "0"),
    "her2": ("0", "", "1", "0", "1"),
    "age": ("41", "", "77.5", "50", "70"),
    "score": ("0.001", "0.004", "0.002", "0.003", ""),
}
LABELS = {"kind": "multi_label", "columns": ("er", "her2")}
NUMBERS = {"kind": "regression", "columns": ("age", "score")}
KINDS = pytest.mark.parametrize("kind", ["multi_label", "regression"])


def run_of(target: dict, **settings) -> RunSettings:
    plain = {"model": "test_resnet", "epochs": 2, "batch_size": 8, "learning_rate": 0.01}
    return RunSettings(target=target, **plain | settings)


RUNS = {"multi_label": run_of(LABELS), "regression": run_of(NUMBERS)}


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The records that would be sent to MLflow."""
    found: list[Record] = []
    for room in ("training.train", "export.export", "engines.parity", "interpret.grad_cam"):
        monkeypatch.setattr(f"lamella.{room}.track", lambda record, *_: found.append(record))
    return found


def write_slides(path: Path, **cells: tuple[str, ...]) -> Path:
    columns = CELLS | cells
    rows = [
        {"slide": f"s{number}", "path": f"s{number}.svs", "patient": f"p{number + 1}"}
        | {name: column[number] for name, column in columns.items()}
        for number in range(5)
    ]
    write_table(path, ("slide", "path", "patient", *columns), rows)
    return path


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slides(tmp_path_factory.mktemp("table") / "slides.tsv")


def train(index: Path, slides: Path | None, folder: Path, run: RunSettings, seed: int = 5) -> None:
    train_model(
        index=index,
        slides=slides,
        output_folder=folder,
        name="tiny",
        run=run,
        seed=seed,
        training=TrainingSettings(max_open_shards=2),
        tracking=TrackingSettings(),
    )


@pytest.fixture(scope="module")
def trained(cohort: Path, slides: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The folder of a finished training of each kind."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lamella.training.train, "track", lambda *_: None)
        for kind, run in RUNS.items():
            train(cohort, slides, root / kind / "seed5", run)
    return {kind: root / kind / "seed5" for kind in RUNS}


def without_times(folder: Path) -> tuple:
    metrics = read_json(folder / "metrics.json")
    del metrics["timings"]
    history = read_table(folder / "history.tsv")
    for row in history:
        del row["seconds"], row["samples_per_s"], row["loader_wait_share"]
    predictions = (folder / "predictions.parquet").read_bytes()
    return (folder / "best.pt").read_bytes(), history, predictions, metrics


# In batches of 8, 38 samples are 5 steps an epoch, and 57 are 8.
@pytest.mark.parametrize(("kind", "epoch"), [("multi_label", 5), ("regression", 8)])
def test_training_broken_off_ends_in_the_same_bits(
    cohort, slides, trained, tmp_path, monkeypatch, kind, epoch
):
    steps = []
    backward = lamella.training.torch_learner.backward

    def counting(*arguments, **keywords):
        steps.append(1)
        if len(steps) == epoch + 2:
            raise KilledError
        return backward(*arguments, **keywords)

    monkeypatch.setattr(lamella.training.torch_learner, "backward", counting)
    with pytest.raises(KilledError):
        train(cohort, slides, tmp_path, RUNS[kind])
    train(cohort, slides, tmp_path, RUNS[kind])
    assert len(steps) == epoch + 2 + epoch
    assert without_times(tmp_path) == without_times(trained[kind])


@KINDS
def test_predictions_hold_what_the_slide_table_says_of_each_patch(trained, kind):
    predictions = pd.read_parquet(trained[kind] / "predictions.parquet")
    assert predictions.groupby("slide").size().to_dict() == {"s3": 17, "s4": 16}
    for name in RUNS[kind].target.columns:
        for number, slide in ((3, "s3"), (4, "s4")):
            cell = CELLS[name][number]
            truth = predictions.loc[predictions["slide"] == slide, f"target_{name}"]
            assert truth.isna().all() if not cell else set(truth) == {np.float32(cell)}


def test_labels_are_answered_with_probabilities_that_need_not_sum_to_one(trained):
    predictions = pd.read_parquet(trained["multi_label"] / "predictions.parquet")
    both = predictions[["probability_er", "probability_her2"]].to_numpy()
    assert ((both > 0) & (both < 1)).all()
    assert np.abs(both.sum(axis=1) - 1).max() > 0.01


def test_numbers_are_answered_in_the_units_of_the_table(trained):
    predictions = pd.read_parquet(trained["regression"] / "predictions.parquet")
    model = load_trained(trained["regression"])
    # s1 has no age.
    ages = np.repeat([41, 77.5], [20, 18])
    np.testing.assert_allclose(model.scale.means[0], ages.mean(), rtol=1e-6)
    np.testing.assert_allclose(model.scale.deviations[0], ages.std(), rtol=1e-6)
    assert predictions["value_age"].between(0, 150).all()
    errors = predictions["value_age"] - predictions["target_age"]
    values = read_json(trained["regression"] / "metrics.json")["test"]["values"]["age"]
    of_test = errors[predictions["split"] == "test"]
    assert values["mae"] == pytest.approx(of_test.abs().mean(), rel=1e-5)


def engine_answers(engine: EngineName, export: Path, index: Path, slide: str) -> np.ndarray:
    with ShardReader(index.parent / "slides" / f"{slide}.h5") as shard:
        patches = shard.read(np.arange(len(shard)))
    return load_engine(engine, export, threads=1).infer(patches)


def exported(folder: Path, output: Path) -> Path:
    metrics = [folder / "metrics.json"]
    export_model(
        metrics=metrics,
        folder=output,
        run="tiny",
        formats=(ModelFormat.ONNX, ModelFormat.TORCH, ModelFormat.TORCHSCRIPT),
        settings=ExportSettings(),
        tracking=TrackingSettings(),
    )
    return output


@KINDS
@pytest.mark.parametrize("engine", [EngineName.ONNXRUNTIME, EngineName.TORCHSCRIPT])
def test_exported_network_answers_as_in_training(cohort, trained, tmp_path, kind, engine):
    export = exported(trained[kind], tmp_path)
    predictions = pd.read_parquet(trained[kind] / "predictions.parquet")
    expected = predictions[predictions["slide"] == "s4"].sort_values("x")
    stem = "value" if kind == "regression" else "probability"
    columns = [f"{stem}_{name}" for name in RUNS[kind].target.columns]
    found = engine_answers(engine, export, cohort, "s4")
    assert (expected[columns].to_numpy().std(axis=0) > 0).all()
    np.testing.assert_allclose(found, expected[columns].to_numpy(), rtol=2e-4)


def test_exported_numbers_say_their_units_and_by_what_the_seed_was_chosen(trained, tmp_path):
    described = read_description(exported(trained["regression"], tmp_path) / "onnx")
    scale = load_trained(trained["regression"]).scale
    assert (described.kind, described.outputs[0].name) == ("regression", "values")
    assert described.means == tuple(scale.means)
    assert described.deviations == tuple(scale.deviations)
    metrics = read_json(trained["regression"] / "metrics.json")
    assert (described.origin.metric, described.origin.value) == (
        "loss",
        metrics["validation"]["loss"],
    )


@KINDS
def test_engines_are_compared_in_what_the_run_has_learned(cohort, trained, tmp_path, kind):
    export = exported(trained[kind], tmp_path / "export")
    check_parity(
        export_folder=export,
        index=cohort,
        output=export / "parity.tsv",
        settings=ParitySettings(engines=(EngineName.ONNXRUNTIME,), threads=1),
        tracking=TrackingSettings(),
    )
    (row,) = read_table(export / "parity.tsv")
    assert (row["verdict"], row["n"], row["cosine"]) == ("valid", "33", "")
    assert row["top1_agreement"] == ("1.000000" if kind == "multi_label" else "")
    predictions = pd.read_parquet(trained[kind] / "predictions.parquet")
    if kind == "regression":
        assert row["auc"] == ""
    else:
        expected = [
            roc_auc_score(predictions[f"target_{name}"], predictions[f"probability_{name}"])
            for name in ("er", "her2")
        ]
        assert float(row["auc"]) == pytest.approx(np.mean(expected), abs=0.002)


@KINDS
def test_patches_of_the_highest_answers_are_explained(cohort, trained, tmp_path, kind):
    explain_patches(
        index=cohort,
        metrics=[trained[kind] / "metrics.json"],
        output=tmp_path / "explanations.tsv",
        run="tiny",
        metric=ExportSettings().metric,
        settings=InterpretSettings(patches_per_class=2, stage_from_end=1),
        tracking=TrackingSettings(),
    )
    rows = read_table(tmp_path / "explanations.tsv")
    predictions = pd.read_parquet(trained[kind] / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    # s4 has no er; of numbers what is known does not matter.
    column = "probability_her2" if kind == "multi_label" else "value_age"
    name = column.partition("_")[2]
    shown = [float(row["probability"]) for row in rows if row["label"] == name]
    np.testing.assert_allclose(shown, test[column].nlargest(2), atol=1e-4)
    assert len({row["file"] for row in rows}) == len(rows) == (2 if kind == "multi_label" else 4)
    assert all((tmp_path / row["file"]).exists() for row in rows)


def test_summary_and_report_show_the_figures_of_each_kind(trained, tmp_path):
    metrics = [folder / "metrics.json" for folder in trained.values()]
    for number, path in enumerate(metrics):
        (section,) = training_section([path], summary_of([path], tmp_path / f"{number}.tsv"))
        assert len(section.seeds[0].pictures) == (2, 1)[number]
        assert section.score.short == ("AUC", "R²")[number]
    (row,) = read_table(tmp_path / "1.tsv")
    found = read_json(metrics[1])
    assert float(row["validation_mae_mean"]) == pytest.approx(found["validation"]["mae"], abs=1e-6)
    slide = found["validation"]["slide"]["mean"]["rmse"]
    assert float(row["validation_slide_rmse_mean"]) == pytest.approx(slide, abs=1e-6)
    assert row["validation_auc_mean"] == row["test_mae_mean"] == ""


def summary_of(metrics: list[Path], path: Path) -> Path:
    summarise_runs(metrics, path)
    return path


def test_the_best_epoch_of_numbers_has_the_lowest_loss(trained):
    history = read_table(trained["regression"] / "history.tsv")
    losses = [float(row["validation_loss"]) for row in history]
    best = read_json(trained["regression"] / "metrics.json")["best_epoch"]
    assert losses[best - 1] == min(losses)


def test_state_is_not_gone_on_with_when_a_cell_has_changed(cohort, trained, tmp_path, caplog):
    table = write_slides(tmp_path / "a.tsv")
    run = run_of(NUMBERS, epochs=1)
    train(cohort, table, tmp_path, run)
    before = (tmp_path / "best.pt").read_bytes()
    changed = write_slides(tmp_path / "b.tsv", age=("42", *CELLS["age"][1:]))
    train(cohort, changed, tmp_path, run)
    assert "made with another content of the slide table's columns" in caplog.text
    assert (tmp_path / "best.pt").read_bytes() != before


def test_tracked_figures_name_the_label_they_are_of(cohort, slides, tmp_path, records):
    train(cohort, slides, tmp_path, run_of(LABELS, epochs=1))
    (record,) = records
    found = {metric.key: metric.value for metric in record.metrics}
    figures = read_json(tmp_path / "metrics.json")["test"]["labels"]["her2"]
    assert found["best/test_labels_her2_loss"] == figures["loss"]
    assert record.model.outputs[0].name == "probabilities"


def test_slide_table_is_asked_for_and_its_cells_are_checked(cohort, tmp_path):
    with pytest.raises(SettingsError, match="er, her2 of the slide table cannot be learned"):
        train(cohort, None, tmp_path, RUNS["multi_label"])
    table = write_slides(tmp_path / "slides.tsv", er=("1", "2", "0", "1", "0"))
    with pytest.raises(CohortErrors, match=r"slides.tsv:3: er is '2', not 0 or 1"):
        train(cohort, table, tmp_path, RUNS["multi_label"])


def test_runs_that_learn_no_classes_are_not_compared(trained):
    folder = trained["regression"].parent
    with pytest.raises(StoreError, match="has learned regression, and only runs that learn"):
        compare_runs(folder, folder)


@KINDS
def test_loaded_network_answers_without_the_table(cohort, trained, kind):
    model = load_trained(trained[kind])
    assert model.classes == RUNS[kind].target.columns
    with torch.inference_mode():
        found = model.inference()(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert found.shape == (1, 2)

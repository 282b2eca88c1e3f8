"""Records reach MLflow once and complete, or wait beside the results."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from lamella.benchmark.track import track_tables
from lamella.errors import TrackingError
from lamella.tracking.mlflow_store import MlflowStore
from lamella.tracking.record import ModelArtifact, Record
from lamella.tracking.send import keep_record, track
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.sync import close_workflow_run, sync_tracking, unsent_records
from lamella.tracking.workflow import start_workflow_run, workflow_folder
from lamella.training.checkpoint import Progress
from lamella.training.tracked import training_record

MakeRecord = Callable[..., Record]
NOWHERE = "sqlite:////dev/null/folder/mlflow.db"


def runs_of(uri: str, study: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs), "a run was logged twice"
    return {str(run.info.run_name): run for run in runs}


def local_uri(folder: Path) -> str:
    return f"sqlite:///{folder}/results/mlflow/mlflow.db"


def test_a_job_becomes_a_run_with_params_curve_dataset_artifact_and_tags(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    start_workflow_run("breast", {"study": "breast"})
    folder = working_folder / "results/train/thin/seed1"
    track(make_record(folder), folder, sqlite_store)
    close_workflow_run(Path("results"), sqlite_store, succeeded=True)

    runs = runs_of(local_uri(working_folder), "breast")
    (workflow,) = [run for run in runs.values() if run.data.tags["lamella.kind"] == "workflow"]
    run = runs["thin seed 1"]
    assert len(runs) == 2
    assert run.data.params == {"learning_rate": "0.01", "model": "resnet50"}
    client = MlflowClient(local_uri(working_folder))
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "patches"
    assert dataset.dataset.digest == "0123456789abcdef0123456789abcdef0123"
    assert json.loads(dataset.dataset.profile) == {"digest": "0123456789abcdef" * 4}
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["history.tsv"]
    assert (run.info.status, workflow.info.status) == ("FINISHED", "FINISHED")
    assert run.data.tags["mlflow.parentRunId"] == workflow.info.run_id
    assert {"lamella.host", "lamella.version", "lamella.config_fingerprint"} <= set(run.data.tags)
    assert (working_folder / "results/mlflow/artifacts").is_dir()


def test_records_of_results_are_sent_with_what_sums_them_up(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    results = [working_folder / f"results/benchmark/{name}.json" for name in ("torch", "openvino")]
    for result in results:
        keep_record(make_record(result.with_suffix(""), name=result.stem), result.with_suffix(""))
    table = working_folder / "results/benchmark/summary.tsv"
    table.write_text("engine\n")
    track_tables("both", results, [table], sqlite_store)
    assert set(runs_of(local_uri(working_folder), "lamella")) == {"torch", "openvino", "both"}


def test_a_damaged_record_of_a_result_is_named_and_the_others_are_sent(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    caplog: pytest.LogCaptureFixture,
) -> None:
    results = [working_folder / f"results/benchmark/{name}.json" for name in ("torch", "openvino")]
    for result in results:
        keep_record(make_record(result.with_suffix(""), name=result.stem), result.with_suffix(""))
    (working_folder / "results/benchmark/torch/record.json").write_text("[]")
    table = working_folder / "results/benchmark/summary.tsv"
    table.write_text("engine\n")
    with caplog.at_level(logging.WARNING, "lamella.benchmark.track"):
        track_tables("both", results, [table], sqlite_store)
    assert "results/benchmark/torch/record.json" in caplog.text
    assert set(runs_of(local_uri(working_folder), "lamella")) == {"openvino", "both"}


def test_a_store_that_is_away_costs_one_warning_and_what_is_summed_up_is_kept(
    working_folder: Path, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    result = working_folder / "results/benchmark/torch.json"
    keep_record(make_record(result.with_suffix("")), result.with_suffix(""))
    table = working_folder / "results/benchmark/summary.tsv"
    table.write_text("engine\n")
    with caplog.at_level(logging.WARNING):
        track_tables("both", [result], [table], TrackingSettings(uri=NOWHERE))
    assert caplog.text.count("lamella sync-tracking") == 1
    unsent, _ = unsent_records(Path("results"), TrackingSettings(uri=NOWHERE))
    assert unsent == [Path("results/benchmark/torch"), Path("results/benchmark/summary")]


def test_a_record_sent_twice_is_one_run(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    folder = working_folder / "results/train/thin/seed1"
    track(make_record(folder), folder, sqlite_store)
    (folder / "record.sent.json").unlink()  # killed between sending and noting that it was sent
    assert sync_tracking(Path("results"), sqlite_store) == 1
    assert sync_tracking(Path("results"), sqlite_store) == 0
    (run,) = runs_of(local_uri(working_folder), "lamella").values()
    client = MlflowClient(local_uri(working_folder))
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 3
    assert len(run.inputs.dataset_inputs) == 1


def test_the_same_result_at_another_time_is_the_same_run(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    folder = working_folder / "results/train/thin/seed1"
    track(make_record(folder), folder, sqlite_store)
    again = make_record(folder)
    for metric in again.metrics:
        metric.timestamp_ms += 60_000
    track(again, folder, sqlite_store)
    (run,) = runs_of(local_uri(working_folder), "lamella").values()
    client = MlflowClient(local_uri(working_folder))
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 3


def test_new_results_of_the_same_job_are_a_new_run(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    folder = working_folder / "results/train/thin/seed1"
    track(make_record(folder), folder, sqlite_store)
    track(make_record(folder, name="thin again", epochs=4), folder, sqlite_store)
    assert set(runs_of(local_uri(working_folder), "lamella")) == {"thin seed 1", "thin again"}


@pytest.mark.parametrize(
    "step", ["_log_values", "_log_artifacts", "_log_model_files", "_log_metrics", "_register"]
)
def test_a_half_sent_record_is_completed_and_not_doubled(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    folder = working_folder / "results/export/thin"
    record = make_record(folder)
    record.model = model_artifact(folder)
    whole = getattr(MlflowStore, step)

    def broken(*arguments: Any, **named: Any) -> None:
        if (
            step != "_log_model_files"
        ):  # there the connection breaks before, elsewhere after the step
            whole(*arguments, **named)
        raise ConnectionResetError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowStore, step, broken)
        track(record, folder, sqlite_store)
    assert unsent_records(Path("results"), sqlite_store) == ([Path("results/export/thin")], [])
    assert sync_tracking(Path("results"), sqlite_store) == 1

    uri = local_uri(working_folder)
    (run,) = runs_of(uri, "lamella").values()
    client = MlflowClient(uri)
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 3
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["history.tsv"]
    assert len(client.search_model_versions("name = 'lamella-thin'")) == 1
    assert len(client.search_logged_models([run.info.experiment_id])) == 1


def test_the_registered_model_has_signature_and_example_and_loads_by_alias_without_pickle(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = working_folder / "results/export/thin"
    record = make_record(folder)
    record.model = model_artifact(folder)
    track(record, folder, sqlite_store)

    mlflow.set_tracking_uri(local_uri(working_folder))
    monkeypatch.setattr("pickle.loads", None)
    monkeypatch.setattr("pickle.load", None)
    loaded = mlflow.pyfunc.load_model("models:/lamella-thin@champion")
    assert str(loaded.metadata.signature.inputs.inputs[0].type) == "uint8"
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 4, 6, 3)
    example = loaded.input_example["patches"]
    assert example.shape == (1, 4, 6, 3)
    pixels = np.full((2, 4, 6, 3), (200, 7, 0), dtype=np.uint8)
    assert loaded.predict({"patches": pixels})["probabilities"].tolist() == [[200.0, 7.0]] * 2
    (run,) = runs_of(local_uri(working_folder), "lamella").values()
    assert [output.model_id for output in run.outputs.model_outputs] == [loaded.model_id]
    logged = MlflowClient(local_uri(working_folder)).get_logged_model(loaded.model_id)
    registered = json.loads(logged.tags["mlflow.modelVersions"])
    assert registered == [{"name": "lamella-thin", "version": "1"}]


def test_a_model_sent_late_does_not_take_the_alias_from_a_younger_one(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
) -> None:
    for name, ended_ms in (("young", 2_000), ("old", 1_000)):
        folder = working_folder / "results/export" / name
        record = make_record(folder, name=name)
        record.model, record.ended_ms = model_artifact(folder), ended_ms
        track(record, folder, sqlite_store)
    client = MlflowClient(local_uri(working_folder))
    champion = client.get_model_version_by_alias("lamella-thin", "champion")
    runs = runs_of(local_uri(working_folder), "lamella")
    assert champion.run_id == runs["young"].info.run_id


def test_two_models_that_are_registered_at_once_leave_the_alias_to_the_younger(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send(name: str, ended_ms: int) -> None:
        folder = working_folder / "results/export" / name
        record = make_record(folder, name=name)
        record.model, record.ended_ms = model_artifact(folder), ended_ms
        track(record, folder, sqlite_store)

    give = MlflowClient.set_registered_model_alias

    def give_late(client: MlflowClient, *arguments: Any) -> None:
        """The younger job does all of its work between the older one's look and its deed."""
        monkeypatch.setattr(MlflowClient, "set_registered_model_alias", give)
        send("young", 2_000)
        give(client, *arguments)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", give_late)
    send("old", 1_000)
    champion = MlflowClient(local_uri(working_folder)).get_model_version_by_alias(
        "lamella-thin", "champion"
    )
    runs = runs_of(local_uri(working_folder), "lamella")
    assert champion.run_id == runs["young"].info.run_id


def test_figures_that_a_run_has_but_its_model_lacks_are_linked_and_not_doubled(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = working_folder / "results/export/thin"
    record = make_record(folder)
    record.model = model_artifact(folder)
    record.metrics[-1].of_model, record.metrics[-1].dataset = True, "patches"
    log = MlflowClient.log_batch

    def killed_between(client: MlflowClient, run_id: str, **batch: Any) -> None:
        """MLflow keeps a point of the run first, and in another transaction that of the model."""
        for each in (unlinked := batch.get("metrics", [])):
            each._model_id = each._dataset_name = each._dataset_digest = None
        log(client, run_id, **batch)
        if unlinked:
            raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", killed_between)
        track(record, folder, sqlite_store)
    for metric in record.metrics:
        metric.timestamp_ms += 60_000
    track(record, folder, sqlite_store)  # the same result at another time

    client = MlflowClient(local_uri(working_folder))
    (run,) = runs_of(local_uri(working_folder), "lamella").values()
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 3
    (model,) = client.search_logged_models([run.info.experiment_id])
    (linked,) = model.metrics
    assert (linked.key, linked.step, linked.value) == ("loss", 2, 0.25)
    assert linked.dataset_name == "patches"


def test_two_studies_on_one_store_do_not_share_a_registered_model(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
) -> None:
    for study in ("breast", "lung: 'first'/new"):
        start_workflow_run(study, {"study": study})
        folder = working_folder / "results/export" / str(len(study))
        record = make_record(folder)
        record.model = model_artifact(folder)
        record.model.name = "resnet50.a1_in1k"
        track(record, folder, sqlite_store)
    client = MlflowClient(local_uri(working_folder))
    names = {"breast-resnet50.a1_in1k", "lung_ _first__new-resnet50.a1_in1k"}
    assert {model.name for model in client.search_registered_models()} == names
    for name in names:
        assert int(client.get_model_version_by_alias(name, "champion").version) == 1
    mlflow.set_tracking_uri(local_uri(working_folder))
    mlflow.onnx.load_model("models:/breast-resnet50.a1_in1k@champion")


def test_all_three_splits_of_a_training_are_kept_as_its_data(
    working_folder: Path, sqlite_store: TrackingSettings
) -> None:
    figures = {"settings": {}, "validation": {}, "test": {}, "run": "thin", "seed": 1}
    facts = {"patch_px": 32, "mpp": 0.5, "backend": "none", "world_size": 1}
    metrics = figures | facts | {"classes": [], "index_digest": "0123456789abcdef" * 4}
    progress = Progress(epoch=1, best_epoch=1, history=[{"epoch": 1, "ended_ms": 1_000}])
    record = training_record(metrics, progress, index=Path("index.parquet"), started_ms=1)
    record.artifacts, record.model = [], None
    track(record, working_folder / "results/train/thin/seed1", sqlite_store)
    (run,) = runs_of(local_uri(working_folder), "lamella").values()
    assert {
        (each.dataset.name, tag.value) for each in run.inputs.dataset_inputs for tag in each.tags
    } == {
        ("patches training", "training"),
        ("patches validation", "validation"),
        ("patches test", "test"),
    }


def test_unreadable_records_are_named_when_the_others_are_sent(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    folders = [working_folder / "results/train/thin" / name for name in ("a", "b", "c")]
    for folder in folders:
        track(make_record(folder, name=folder.name), folder, TrackingSettings(uri=NOWHERE))
    for folder in (folders[0], folders[2]):
        (folder / "record.json").write_text('{"kind": "trai')
    with pytest.raises(TrackingError, match="2 of 3 records were not sent") as found:
        sync_tracking(Path("results"), sqlite_store)
    named = "results/train/thin/a/record.json, results/train/thin/c/record.json"
    assert found.value.where == named
    assert set(runs_of(local_uri(working_folder), "lamella")) == {"b"}


def test_an_unreadable_workflow_run_does_not_keep_its_jobs_from_being_sent(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    workflow = workflow_folder(start_workflow_run("breast", {"study": "breast"}))
    folder = working_folder / "results/train/thin/seed1"
    track(make_record(folder), folder, TrackingSettings(uri=NOWHERE))
    (workflow / "record.json").write_text("[]")
    with pytest.raises(TrackingError, match="1 of 2 records were not sent"):
        sync_tracking(Path("results"), sqlite_store)
    assert set(runs_of(local_uri(working_folder), "breast")) == {"thin seed 1"}


def test_an_absent_server_costs_one_warning_and_the_record_is_sent_later_once(
    working_folder: Path,
    server: Any,
    make_record: MakeRecord,
    model_artifact: Callable[[Path], ModelArtifact],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, asked = requests.head, []
    monkeypatch.setattr(requests, "head", lambda uri, **how: asked.append(uri) or head(uri, **how))
    settings = TrackingSettings(uri=server.uri)
    start_workflow_run("far", {"study": "far"})
    folder = working_folder / "results/export/thin"
    record = make_record(folder)
    record.model = model_artifact(folder)
    with caplog.at_level(logging.WARNING):
        track(record, folder, settings)
    assert asked == [server.uri]
    (warning,) = caplog.records
    assert "lamella sync-tracking" in warning.getMessage()
    with pytest.raises(TrackingError, match="2 of 2 records were not sent"):
        sync_tracking(Path("results"), settings)

    server.start()
    assert sync_tracking(Path("results"), settings) == 2  # the job's and its workflow run's
    assert sync_tracking(Path("results"), settings) == 0
    runs = runs_of(server.uri, "far")
    assert len(runs) == 2
    run = runs["thin seed 1"]
    assert run.data.tags["mlflow.parentRunId"] in {each.info.run_id for each in runs.values()}
    client = MlflowClient(server.uri)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 3
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["history.tsv"]
    assert client.get_model_version_by_alias("far-thin", "champion").version == "1"
    mlflow.set_tracking_uri(server.uri)
    graph = mlflow.onnx.load_model("models:/far-thin@champion")
    assert [each.name for each in graph.graph.input] == ["patches"]


def test_a_server_that_is_silent_for_a_while_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Exception | None] = [requests.ReadTimeout("nothing in 5 s"), None]

    def head(uri: str, *, timeout: float) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(requests, "head", head)
    monkeypatch.setattr(MlflowStore, "_look", lambda _: None)
    monkeypatch.setattr(mlflow, "set_tracking_uri", lambda _: None)
    MlflowStore(TrackingSettings(uri="http://127.0.0.1:9"))
    assert answers == []


@pytest.mark.timeout(900)
def test_four_processes_that_log_at_once_lose_nothing(
    working_folder: Path, sqlite_store: TrackingSettings
) -> None:
    start_workflow_run("crowd", {"study": "crowd"})
    program = """
import sys
from pathlib import Path
from lamella.tracking.record import Metric, Record
from lamella.tracking.send import track
from lamella.tracking.settings import TrackingSettings
for number in range(3):
    folder = Path(f"results/benchmark/{sys.argv[1]}_{number}")
    folder.mkdir(parents=True)
    points = [Metric(key="ms", value=step, step=step, timestamp_ms=step) for step in range(50)]
    name = f"cell {sys.argv[1]} {number}"
    track(Record(kind="benchmark", name=name, metrics=points), folder, TrackingSettings())
"""
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(job)]) for job in range(4)]
    try:
        assert [job.wait(timeout=600) for job in jobs] == [0, 0, 0, 0]
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    runs = runs_of(local_uri(working_folder), "crowd")
    cells = [run for run in runs.values() if run.data.tags["lamella.kind"] == "benchmark"]
    assert (len(runs), len(cells)) == (13, 12)
    assert len({run.data.tags["mlflow.parentRunId"] for run in cells}) == 1
    client = MlflowClient(local_uri(working_folder))
    assert {len(client.get_metric_history(run.info.run_id, "ms")) for run in cells} == {50}


def test_a_run_that_a_slow_server_made_when_nobody_waited_any_more_does_not_stay(
    working_folder: Path,
    sqlite_store: TrackingSettings,
    make_record: MakeRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = MlflowClient.create_run

    def create_late(client: MlflowClient, *arguments: Any, **named: Any) -> Run:
        create(client, *arguments, **named)
        return create(client, *arguments, **named)  # before, it was looked for in vain

    monkeypatch.setattr(MlflowClient, "create_run", create_late)
    folder = working_folder / "results/train/thin/seed1"
    track(make_record(folder), folder, sqlite_store)
    (run,) = runs_of(local_uri(working_folder), "lamella").values()
    client = MlflowClient(local_uri(working_folder))
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 3


def test_a_record_that_names_an_absent_file_is_refused(
    working_folder: Path, sqlite_store: TrackingSettings, make_record: MakeRecord
) -> None:
    folder = working_folder / "results/train/thin/seed1"
    record = make_record(folder)
    record.artifacts.append("curve.png")
    with pytest.raises(TrackingError, match=r"curve\.png"):
        track(record, folder, sqlite_store)

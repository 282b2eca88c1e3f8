"""A training's best network is in MLflow: with its epoch, its figures and a way to use it."""

from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from lamella.patches.index import read_index
from lamella.stores.json_files import read_json
from lamella.stores.shards import ShardReader
from lamella.tracking.settings import TrackingSettings
from lamella.tracking.sync import sync_tracking
from lamella.training.checkpoint import load_trained
from lamella.training.settings import Backend, RunSettings, TrainingSettings
from lamella.training.train import train_model

FOLDER = Path("results/train/tiny/seed7")


@pytest.fixture
def uri(working_folder: Path, sqlite_store: TrackingSettings, results: Any) -> str:
    """Train for two epochs with tracking, and return the address of the store."""
    run = RunSettings(model="test_resnet", epochs=2, batch_size=4)
    train_model(
        index=results.index,
        output_folder=FOLDER,
        name="tiny.v2",
        run=run,
        seed=7,
        training=TrainingSettings(backend=Backend.NONE, runs={"tiny.v2": run}),
        tracking=sqlite_store,
    )
    return f"sqlite:///{working_folder}/results/mlflow/mlflow.db"


def the_run_and_its_model(uri: str) -> tuple[Run, LoggedModel]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("lamella").experiment_id
    (run,) = client.search_runs([experiment])
    (model,) = client.search_logged_models([experiment])
    return run, model


def test_best_network_is_a_logged_model_with_epoch_seed_digest_and_its_figures(uri: str) -> None:
    run, model = the_run_and_its_model(uri)
    metrics = read_json(FOLDER / "metrics.json")
    best = metrics["best_epoch"]
    assert (model.name, str(model.status)) == ("tiny_v2", "READY")
    assert model.source_run_id == run.info.run_id
    assert [(each.model_id, each.step) for each in run.outputs.model_outputs] == [
        (model.model_id, best)
    ]
    about = {"run": "tiny.v2", "seed": "7", "epoch": str(best), "index_digest": "d1" * 32}
    assert about.items() <= model.params.items()

    linked = {metric.key: metric for metric in model.metrics}
    assert len(linked) == len(model.metrics)
    for split in ("validation", "test"):
        figure = linked[f"best/{split}_loss"]
        assert (figure.value, figure.step) == (metrics[split]["loss"], best)
        assert figure.dataset_name == f"patches {split}"
        assert figure.dataset_digest == ("d1" * 32)[:36]
        assert run.data.metrics[figure.key] == figure.value
    assert "train_loss" not in linked
    assert MlflowClient(uri).search_registered_models() == []


def test_a_logged_network_answers_without_pickle_as_the_trained_one_does(
    uri: str, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = the_run_and_its_model(uri)
    index = read_index(results.index)
    with ShardReader(index.folder / index.table["shard"].iloc[0]) as shard:
        patches = shard.read(np.arange(5))
    with torch.inference_mode():
        expected = load_trained(FOLDER).inference()(torch.from_numpy(patches)).numpy()

    monkeypatch.setattr("pickle.loads", None)
    monkeypatch.setattr("pickle.load", None)
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    np.testing.assert_array_equal(loaded.predict({"patches": patches})["probabilities"], expected)
    (entry,) = loaded.metadata.signature.inputs.inputs
    assert (entry.name, str(entry.type), entry.shape) == ("patches", "uint8", (-1, 48, 48, 3))
    (entry,) = loaded.metadata.signature.outputs.inputs
    assert (entry.name, str(entry.type), entry.shape) == ("probabilities", "float32", (-1, 2))
    assert loaded.predict(loaded.input_example)["probabilities"].shape == (1, 2)

    files = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    (network,) = files.rglob("*.pt")
    assert torch.load(network, weights_only=True)["layout"] == "lamella network 1"
    assert not [path for path in files.rglob("*") if path.suffix in {".pkl", ".pickle"}]


def test_a_training_sent_twice_is_one_run_with_one_model_and_each_figure_once(uri: str) -> None:
    _, before = the_run_and_its_model(uri)
    (FOLDER / "record.sent.json").unlink()
    assert sync_tracking(Path("results"), TrackingSettings()) == 1
    run, after = the_run_and_its_model(uri)
    assert len(run.outputs.model_outputs) == 1
    key = "best/test_loss"
    assert len(MlflowClient(uri).get_metric_history(run.info.run_id, key)) == 1
    assert len(after.metrics) == len(before.metrics) > 0

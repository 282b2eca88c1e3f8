"""Networks of Keras trained by TensorFlow, in processes of their own, and used by torch here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lamella.engines.load import load_engine
from lamella.engines.settings import EngineName
from lamella.errors import StoreError
from lamella.export.description import ModelFormat
from lamella.export.export import export_model
from lamella.export.settings import ExportSettings
from lamella.interpret.cam import conv_stage, grad_cam
from lamella.models.keras_in_torch import keras_network_in_torch
from lamella.models.settings import HeadSettings
from lamella.stores.json_files import read_json
from lamella.stores.shards import ShardReader
from lamella.stores.tables import read_table, write_table
from lamella.tracking.settings import TrackingSettings
from lamella.training.checkpoint import load_trained
from lamella.training.launch import launch_training
from lamella.training.settings import Backend, RunSettings, TrainingSettings

PROGRAMS = Path(__file__).parent / "programs"
RUN = RunSettings(
    framework="tensorflow",
    model="resnet50",
    epochs=2,
    batch_size=12,
    accumulate=2,
    learning_rate=0.002,
    head=HeadSettings(hidden=(16,), dropout=0.5),
)
OFTEN = 1e-9
"""Minutes between checkpoints: every step is one."""

# TensorFlow takes up to half a minute to start where cores are busy.
pytestmark = pytest.mark.timeout(600)


def start(
    index: Path,
    folder: Path,
    run: RunSettings = RUN,
    *,
    slides: Path | None = None,
    hold: str = "",
    **training,
) -> subprocess.Popen:
    settings = TrainingSettings(runs={"tiny": run}, checkpoint_minutes=OFTEN, **training)
    words = [
        *("--index", str(index), "--output", str(folder), "--run", "tiny", "--seed", "5"),
        *("--settings", settings.model_dump_json(), "--log", str(folder / "log")),
    ]
    words += ["--slides", str(slides)] if slides else []
    how = "launch" if settings.processes > 1 else "alone"
    environment = os.environ | ({"HOLD": f"{hold}:{folder / 'held'}"} if hold else {})
    command = [sys.executable, str(PROGRAMS / "untracked.py"), how, *words]
    return subprocess.Popen(command, env=environment)


@pytest.fixture(scope="module")
def undisturbed(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    assert start(large, folder).wait() == 0, (folder / "log").read_text()
    return folder


def test_results_are_those_of_any_training(undisturbed):
    metrics = read_json(undisturbed / "metrics.json")
    assert metrics["settings"]["framework"] == "tensorflow"
    assert (metrics["validation"]["n"], metrics["test"]["n"]) == (9, 8)
    rows = read_table(undisturbed / "history.tsv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["train_loss"]) != float(rows[0]["train_loss"])
    assert (undisturbed / "pictures" / "roc.svg").exists()


def patches_of(index: Path, slide: str) -> np.ndarray:
    with ShardReader(index.parent / "slides" / f"{slide}.h5") as shard:
        return shard.read(np.arange(len(shard)))


def test_torch_answers_what_tensorflow_has_answered(large, undisturbed):
    predictions = pd.read_parquet(undisturbed / "predictions.parquet")
    expected = predictions[predictions["slide"] == "s4"].sort_values("x")
    model = load_trained(undisturbed)
    with torch.inference_mode():
        found = model.inference()(torch.from_numpy(patches_of(large, "s4"))).numpy()
    columns = ["probability_normal", "probability_tumor"]
    # Patches differ by far more than what is allowed.
    assert expected["probability_tumor"].std() > 1e-5
    np.testing.assert_allclose(found, expected[columns].to_numpy(), rtol=2e-4)


def test_exported_network_answers_what_tensorflow_has_answered(
    large, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setattr("lamella.export.export.track", lambda *_: None)
    export_model(
        metrics=[undisturbed / "metrics.json"],
        folder=tmp_path,
        run="tiny",
        formats=tuple(ModelFormat),
        settings=ExportSettings(),
        tracking=TrackingSettings(),
    )
    predictions = pd.read_parquet(undisturbed / "predictions.parquet")
    expected = predictions[predictions["slide"] == "s4"].sort_values("x")["probability_tumor"]
    engines = (EngineName.ONNXRUNTIME, EngineName.TORCH, EngineName.TORCHSCRIPT)
    for engine in (*engines, EngineName.OPENVINO, EngineName.TENSORFLOW):
        found = load_engine(engine, tmp_path, threads=1).infer(patches_of(large, "s4"))
        np.testing.assert_allclose(found[:, 1], expected.to_numpy(), rtol=2e-4)


def test_grad_cam_sees_the_stages_of_the_network(large, undisturbed):
    model = load_trained(undisturbed)
    patches = patches_of(large, "s4")[:2]
    stage = conv_stage(model, 2)
    cams = grad_cam(model, stage, patches, np.array([0, 1]))
    assert cams.shape == (2, 96, 96)
    assert model.network.feature_info[-2]["num_chs"] == 1024
    # Evidence for one class is none for the other.
    assert not np.array_equal(cams[0], cams[1])


def without_times(folder: Path) -> tuple:
    rows = read_table(folder / "history.tsv")
    for row in rows:
        del row["seconds"], row["samples_per_s"], row["loader_wait_share"]
    predictions = pd.read_parquet(folder / "predictions.parquet").to_dict()
    return (folder / "best.pt").read_bytes(), rows, predictions


def test_killed_within_an_epoch_and_started_again_it_ends_in_the_same_bits(
    large, tmp_path, undisturbed
):
    training = start(large, tmp_path, hold="2:1")
    while not (tmp_path / "held").exists():
        assert training.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    training.kill()
    assert training.wait() == -signal.SIGKILL
    assert not (tmp_path / "metrics.json").exists()
    assert start(large, tmp_path).wait() == 0, (tmp_path / "log").read_text()
    assert "going on after epoch 1 of 2 and step 1" in (tmp_path / "log").read_text()
    assert without_times(tmp_path) == without_times(undisturbed)


def test_two_ranks_train_from_the_weights_of_another_run_what_is_not_frozen(
    large, tmp_path, undisturbed
):
    run = RUN.model_copy(
        update={
            "epochs": 1,
            "batch_size": 4,
            "weights": undisturbed / "best.pt",
            "freeze": ("conv[1-4]_*",),
        }
    )
    training = start(large, tmp_path, run, backend=Backend.HOROVOD, processes=2)
    assert training.wait() == 0, (tmp_path / "log").read_text()
    metrics = read_json(tmp_path / "metrics.json")
    assert (metrics["world_size"], metrics["test"]["n"]) == (2, 8)
    before, after = load_trained(undisturbed).weights, load_trained(tmp_path).weights
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name.split("_")[0] for name in same} == {"conv1", "conv2", "conv3", "conv4"}
    # Running statistics of frozen layers stay, too.
    assert same == {
        name for name in before if name.startswith(("conv1", "conv2", "conv3", "conv4"))
    }


@pytest.fixture(scope="module")
def gradients(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    output = tmp_path_factory.mktemp("keras-gradients") / "found.json"
    program = [sys.executable, str(PROGRAMS / "keras_gradients.py"), str(cohort), str(output)]
    launch_training(program, 2, backend=Backend.HOROVOD)
    return json.loads(output.read_text())


def test_gradient_of_two_ranks_is_that_of_one_process_on_the_joined_batch(gradients):
    assert (gradients["samples"], gradients["different"]) == ([7, 6], 13)
    # Without the scales and shifts of batch normalisation: 53 convolutions, one classifier.
    assert gradients["weights"] == 2 * 54
    assert gradients["largest"] <= 1e-12
    assert gradients["loss"] == pytest.approx(gradients["expected_loss"], rel=1e-12)
    assert gradients["sums"][0] == gradients["sums"][1]


@pytest.fixture(scope="module")
def beside_torch() -> dict:
    program = [sys.executable, str(PROGRAMS / "keras_steps.py")]
    said = subprocess.run(program, capture_output=True, text=True, check=True)
    return json.loads(said.stdout.splitlines()[-1])


def test_optimisers_step_as_those_of_torch(beside_torch):
    found = beside_torch
    for kind in ("adamw", "adam", "sgd"):
        assert found[f"{kind} moved"] > 1e-3
        assert found[kind] < 3e-6


@pytest.mark.parametrize("kind", ["classes", "multi_label", "regression"])
def test_losses_gradients_and_answers_are_those_of_torch(beside_torch, kind):
    for each in ("loss", "gradient", "answers"):
        assert beside_torch[f"{kind} {each}"] < 1e-6


def test_numbers_are_learned_and_answered_by_torch_in_their_units(cohort, tmp_path):
    ages = ("41", "", "77.5", "50", "70")
    rows = [
        {
            "slide": f"s{n}",
            "path": f"s{n}.svs",
            "patient": f"p{n + 1}",
            "age": age,
            "size": "12345"[n],
        }
        for n, age in enumerate(ages)
    ]
    table = tmp_path / "slides.tsv"
    write_table(table, ("slide", "path", "patient", "age", "size"), rows)
    target = {"kind": "regression", "columns": ("age", "size")}
    run = RunSettings(**RUN.model_dump() | {"target": target, "epochs": 1})
    assert start(cohort, tmp_path, run, slides=table).wait() == 0, (tmp_path / "log").read_text()
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    expected = predictions[predictions["slide"] == "s4"].sort_values("x")
    assert set(expected["target_age"]) == {70.0}
    model = load_trained(tmp_path)
    with torch.inference_mode():
        found = model.inference()(torch.from_numpy(patches_of(cohort, "s4"))).numpy()
    assert expected["value_age"].between(0, 150).all()
    np.testing.assert_allclose(found, expected[["value_age", "value_size"]].to_numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"model": "densenet121"}, "trains resnet50, resnet101, inception_v3, not 'densenet121'"),
        ({"precision": "float16"}, "float32 or bfloat16, not in float16"),
        ({"compile": True}, "compile is for framework torch"),
        ({"channels_last": True}, "channels_last is for framework torch"),
    ],
)
def test_what_tensorflow_cannot_do_is_refused_with_the_settings(settings, error):
    with pytest.raises(ValueError, match=error):
        RunSettings(framework="tensorflow", **settings)


def test_backend_that_does_not_speak_tensorflow_is_refused():
    with pytest.raises(ValueError, match="choose horovod"):
        TrainingSettings(backend=Backend.TORCH, processes=2, runs={"keras": RUN})


def test_weights_of_another_network_are_refused(undisturbed):
    weights = load_trained(undisturbed).weights
    with pytest.raises(StoreError, match="the weights are of another network: conv4_block10"):
        keras_network_in_torch("resnet101", 2, RUN.head, weights)

"""Trainings in this process, broken off and gone on with, and their results."""

import json
import logging
import pickle
import shutil
import signal
import time
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import lamella.training.torch_learner
import lamella.training.train
from lamella.datasets.patches import PatchDataset
from lamella.errors import StoreError, TrainingError
from lamella.models.settings import HeadSettings
from lamella.patches.index import read_index
from lamella.stores.json_files import read_json
from lamella.stores.tables import read_table
from lamella.tracking.record import Record
from lamella.tracking.settings import TrackingSettings
from lamella.training.__main__ import main
from lamella.training.checkpoint import load_trained
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.train import train_model

RUN = RunSettings(model="test_resnet", epochs=3, batch_size=8, learning_rate=0.01)
TRAINING = TrainingSettings(max_open_shards=2)
PICTURES = [f"pictures/{name}.svg" for name in ("auc", "calibration", "confusion", "loss", "roc")]
OUTPUTS = ("best.pt", "history.tsv", "predictions.parquet", "metrics.json", *PICTURES)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The records that would be sent to MLflow."""
    found: list[Record] = []
    monkeypatch.setattr(lamella.training.train, "track", lambda record, *_: found.append(record))
    return found


def train(
    index: Path,
    folder: Path,
    *,
    run: RunSettings = RUN,
    seed: int = 5,
    training: TrainingSettings = TRAINING,
) -> None:
    train_model(
        index=index,
        output_folder=folder,
        name="tiny",
        run=run,
        seed=seed,
        training=training,
        tracking=TrackingSettings(),
    )


def train_and_break_off(index: Path, folder: Path, *, step: int, **settings) -> None:
    """Train, and end in the middle of a step of the whole training, counted from 1."""
    steps = []
    backward = lamella.training.torch_learner.backward

    def counting(*arguments, **keywords):
        steps.append(1)
        if len(steps) == step:
            raise KilledError
        return backward(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lamella.training.torch_learner, "backward", counting)
        with pytest.raises(KilledError):
            train(index, folder, **settings)


def without_times(folder: Path) -> tuple:
    metrics = read_json(folder / "metrics.json")
    del metrics["timings"]
    history = read_table(folder / "history.tsv")
    for row in history:
        del row["seconds"], row["samples_per_s"], row["loader_wait_share"]
    predictions = pd.read_parquet(folder / "predictions.parquet").to_dict()
    return (folder / "best.pt").read_bytes(), history, predictions, metrics


@pytest.fixture(scope="module")
def undisturbed(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lamella.training.train, "track", lambda *_: None)
        train(cohort, folder)
    return folder


# 57 samples in batches of 8 are 8 steps an epoch.
@pytest.mark.parametrize("step", [3, 12, 24])
def test_training_broken_off_anywhere_ends_in_the_same_bits(cohort, tmp_path, undisturbed, step):
    train_and_break_off(cohort, tmp_path, step=step)
    assert not (tmp_path / "metrics.json").exists()
    train(cohort, tmp_path)
    assert without_times(tmp_path) == without_times(undisturbed)


def test_training_without_a_better_epoch_ends_when_its_patience_does(cohort, tmp_path, monkeypatch):
    worse = iter([0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr(lamella.training.train, "quality", lambda _: (next(worse), 0.0))
    train(cohort, tmp_path, run=RUN.model_copy(update={"epochs": 9, "patience": 2}))
    metrics = read_json(tmp_path / "metrics.json")
    assert (metrics["epochs"], metrics["best_epoch"]) == (3, 1)
    # Started again, it writes its results and does not go on.
    monkeypatch.setattr(lamella.training.torch_learner, "backward", None)
    train(cohort, tmp_path, run=RUN.model_copy(update={"epochs": 9, "patience": 2}))
    assert read_json(tmp_path / "metrics.json") == metrics


def test_longer_gradients_are_shortened_to_the_limit(cohort, tmp_path, monkeypatch):
    lengths = []
    step = torch.optim.AdamW.step

    def measured(optimiser, *arguments):
        gradients = [w.grad for group in optimiser.param_groups for w in group["params"]]
        lengths.append(torch.cat([each.flatten() for each in gradients]).norm().item())
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", measured)
    run = RUN.model_copy(update={"epochs": 1})
    train(cohort, tmp_path / "free", run=run)
    limit = sorted(lengths)[4]
    first, lengths[:] = lengths[0], []
    train(cohort, tmp_path / "clipped", run=run.model_copy(update={"clip_norm": limit}))
    assert lengths[0] == pytest.approx(min(first, limit), rel=1e-5)
    assert max(lengths) <= limit * 1.00001


def test_batches_in_parts_are_trained_on_in_as_many_steps_as_joined_ones(cohort, tmp_path):
    in_parts = RUN.model_copy(update={"epochs": 1, "batch_size": 4, "accumulate": 4})
    joined = RUN.model_copy(update={"epochs": 1, "batch_size": 16})
    for name, run in (("parts", in_parts), ("joined", joined)):
        train(cohort, tmp_path / name, run=run)
    rows = [read_table(tmp_path / name / "history.tsv")[0] for name in ("parts", "joined")]
    # 57 samples in 4 steps.
    assert rows[0]["learning_rate"] == rows[1]["learning_rate"]
    assert float(rows[0]["learning_rate"]) == pytest.approx(0.01 * 0.5 * (1 - 2**-0.5))


def test_channels_last_stores_weights_in_the_usual_order(cohort, tmp_path):
    run = RUN.model_copy(update={"epochs": 1, "channels_last": True})
    train(cohort, tmp_path, run=run)
    weights = torch.load(tmp_path / "best.pt", weights_only=True)["network"]
    assert all(tensor.is_contiguous() for tensor in weights.values())


# Every step is a checkpoint: after 3 the first epoch is under way, after 12 the second, after 24
# the last is learned but not judged.
@pytest.mark.parametrize("step", [4, 13, 24])
def test_training_broken_off_within_an_epoch_goes_on_with_the_next_step(
    cohort, tmp_path, monkeypatch, step
):
    run = RUN.model_copy(update={"head": HeadSettings(hidden=(16,), dropout=0.5)})
    often = TRAINING.model_copy(update={"checkpoint_minutes": 1e-9})
    train(cohort, tmp_path / "undisturbed", run=run)
    train_and_break_off(cohort, tmp_path / "broken", step=step, run=run, training=often)
    stored = torch.load(tmp_path / "broken" / "state" / "checkpoint.pt", weights_only=True)
    assert 8 * stored["progress"]["epoch"] + stored["ranks"][0]["course"]["step"] == step - 1

    backward, steps = lamella.training.torch_learner.backward, []

    def counting(*arguments, **keywords):
        steps.append(1)
        return backward(*arguments, **keywords)

    monkeypatch.setattr(lamella.training.torch_learner, "backward", counting)
    train(cohort, tmp_path / "broken", run=run, training=often)
    assert len(steps) == 24 - (step - 1)
    assert without_times(tmp_path / "broken") == without_times(tmp_path / "undisturbed")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_signal_stops_the_training_after_the_step_and_keeps_its_state(
    cohort, tmp_path, monkeypatch, undisturbed, caplog, number
):
    backward, steps = lamella.training.torch_learner.backward, []

    def signalled(*arguments, **keywords):
        steps.append(1)
        if len(steps) == 11:
            signal.raise_signal(number)
        return backward(*arguments, **keywords)

    before = signal.getsignal(number)
    monkeypatch.setattr(lamella.training.torch_learner, "backward", signalled)
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as stopped:
        train(cohort, tmp_path)
    assert (stopped.value.code, len(steps)) == (75, 11)
    assert "stopped by a signal after step 3 of 8 of epoch 2" in caplog.text
    assert signal.getsignal(number) is before
    train(cohort, tmp_path)
    assert len(steps) == 24
    assert without_times(tmp_path) == without_times(undisturbed)


def test_weights_from_a_file_are_started_from_and_frozen_ones_stay(cohort, tmp_path, undisturbed):
    run = RUN.model_copy(
        update={"epochs": 1, "weights": undisturbed / "best.pt", "freeze": ("conv1.*", "bn1.*")}
    )
    train(cohort, tmp_path, run=run)
    before = load_trained(undisturbed).network.state_dict()
    after = load_trained(tmp_path).network.state_dict()
    same = {key.split(".")[0] for key in before if torch.equal(before[key], after[key])}
    assert same == {"conv1", "bn1"}


def test_weights_of_another_content_make_a_training_start_anew(
    cohort, tmp_path, undisturbed, caplog
):
    weights = shutil.copy(undisturbed / "best.pt", tmp_path / "w.pt")
    run = RUN.model_copy(update={"weights": Path(weights)})
    train_and_break_off(cohort, tmp_path, step=12, run=run)
    other = torch.load(weights, weights_only=True)
    torch.save(other["network"], weights)
    with caplog.at_level(logging.WARNING):
        train(cohort, tmp_path, run=run)
    assert "made with another weights to start from; the training starts anew" in caplog.text


def test_missing_file_of_weights_is_refused(cohort, tmp_path):
    run = RUN.model_copy(update={"weights": tmp_path / "none.pt"})
    with pytest.raises(TrainingError, match=r"none\.pt: the file is not there"):
        train(cohort, tmp_path, run=run)


def test_another_seed_gives_another_network(cohort, tmp_path, undisturbed):
    train(cohort, tmp_path, seed=6)
    assert (tmp_path / "best.pt").read_bytes() != (undisturbed / "best.pt").read_bytes()


def test_finished_training_writes_its_results_again_without_training(
    cohort, tmp_path, monkeypatch, records
):
    train(cohort, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in OUTPUTS}
    for name in OUTPUTS:
        (tmp_path / name).unlink()
    monkeypatch.setattr(lamella.training.torch_learner, "backward", None)
    train(cohort, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in OUTPUTS} == before
    # An equal record has an equal digest, and is sent once.
    where_and_when = {"started_ms", "ended_ms"}
    first, second = (record.model_dump(exclude=where_and_when) for record in records)
    assert first == second


def test_state_of_another_training_is_not_gone_on_with(cohort, tmp_path, undisturbed, caplog):
    train_and_break_off(cohort, tmp_path, step=12)
    other = RUN.model_copy(update={"learning_rate": 0.02})
    with caplog.at_level(logging.WARNING):
        train(cohort, tmp_path, run=other)
    assert "made with another settings; the training starts anew" in caplog.text
    assert len(read_table(tmp_path / "history.tsv")) == 3
    rates = [float(row["learning_rate"]) for row in read_table(tmp_path / "history.tsv")]
    expected = [float(row["learning_rate"]) for row in read_table(undisturbed / "history.tsv")]
    assert rates == pytest.approx([2 * rate for rate in expected])


def test_metrics_are_those_of_the_predictions_and_of_the_best_epoch(cohort, undisturbed):
    metrics = read_json(undisturbed / "metrics.json")
    predictions = pd.read_parquet(undisturbed / "predictions.parquet")
    assert list(predictions.columns) == [
        *("slide", "patient", "slide_label", "split", "x", "y", "label"),
        *("probability_normal", "probability_tumor"),
    ]
    for split, n in (("validation", 17), ("test", 16)):
        part = predictions[predictions["split"] == split]
        auc = roc_auc_score(part["label"], part["probability_tumor"])
        assert (metrics[split]["n"], metrics[split]["auc"]) == (n, pytest.approx(auc, abs=1e-12))
        assert metrics[split]["slide"]["n"] == part["slide"].nunique()
        # One patient: nothing to resample, and no AUC of a single slide.
        assert metrics[split]["intervals"]["auc"] is None
        assert metrics[split]["slide"]["remark"] == "no AUC: no slide is normal"
        score = part["probability_tumor"].max()
        loss = metrics[split]["slide"]["max"]["loss"]
        assert loss == pytest.approx(-np.log(score), abs=1e-6)
    best = read_table(undisturbed / "history.tsv")[metrics["best_epoch"] - 1]
    assert float(best["validation_loss"]) == pytest.approx(metrics["validation"]["loss"], abs=1e-6)
    assert metrics["index_digest"] == read_index(cohort).digest
    assert (metrics["world_size"], metrics["backend"]) == (1, "none")


def test_predictions_belong_to_the_patches_beside_them(cohort, undisturbed):
    from lamella.stores.shards import ShardReader

    predictions = pd.read_parquet(undisturbed / "predictions.parquet")
    row = predictions[(predictions["slide"] == "s4") & (predictions["x"] == 700)].iloc[0]
    with ShardReader(cohort.parent / "slides" / "s4.h5") as shard:
        pixels = shard.read(np.array([7]))
    with torch.inference_mode():
        probabilities = load_trained(undisturbed).inference()(torch.from_numpy(pixels))[0]
    found = row[["probability_normal", "probability_tumor"]].to_numpy(np.float32)
    np.testing.assert_allclose(found, probabilities.numpy(), rtol=1e-4)


def test_trained_model_says_what_it_is(undisturbed):
    model = load_trained(undisturbed / "metrics.json")
    assert (model.name, model.seed, model.classes) == ("tiny", 5, ("normal", "tumor"))
    assert (model.patch_px, model.mpp, model.run) == (32, 0.5, RUN)
    assert not model.network.training
    assert model.epoch == read_json(undisturbed / "metrics.json")["best_epoch"]


def test_missing_network_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(StoreError, match=r"best\.pt: .*train again"):
        load_trained(tmp_path)


def test_record_holds_parameters_curves_data_and_files(cohort, tmp_path, records):
    train(cohort, tmp_path)
    (record,) = records
    assert (record.kind, record.name) == ("training", "tiny seed 5")
    assert record.params["model"] == "test_resnet"
    assert record.params["augment.flip"] == "True"
    losses = [metric.step for metric in record.metrics if metric.key == "validation_loss"]
    assert losses == [1, 2, 3]
    keys = [metric.key for metric in record.metrics]
    assert {
        *("best/test_auc", "best/validation_accuracy", "best_epoch", "best/test_classes_tumor_f1"),
        *("best/test_slide_top_k_loss", "best/validation_patient_mean_accuracy"),
    } <= set(keys)
    assert not [key for key in keys if "bootstrap" in key]
    assert {each.context for each in record.datasets} == {"training", "validation", "test"}
    files = ["history.tsv", "metrics.json", "pictures", "predictions.parquet"]
    assert sorted(record.artifacts) == files
    assert record.model is not None
    best = read_json(tmp_path / "metrics.json")["best_epoch"]
    assert (record.model.path, record.model.step) == ("best.pt", best)


def test_history_says_for_which_share_of_the_time_training_waited_for_patches(
    cohort, tmp_path, monkeypatch
):
    read = PatchDataset.read

    def slowly(dataset, positions):
        time.sleep(0.3)
        return read(dataset, positions)

    monkeypatch.setattr(PatchDataset, "read", slowly)
    train(cohort, tmp_path, run=RUN.model_copy(update={"epochs": 1}))
    (row,) = read_table(tmp_path / "history.tsv")
    # How large it is depends on what else the machine does; see tests/unit/datasets.
    assert 0.0 < float(row["loader_wait_share"]) < 1.0


def command_line(index: Path, folder: Path, training: dict) -> list[str]:
    return [
        *("--index", str(index), "--output", str(folder), "--run", "tiny", "--seed", "5"),
        *("--settings", json.dumps(training), "--log", str(folder / "log")),
    ]


@pytest.fixture
def own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the log of the job away from the log of the tests."""
    monkeypatch.setattr("lamella.training.__main__.start_job_log", lambda path: None)


@pytest.mark.usefixtures("own_log")
def test_program_without_backend_trains_in_its_own_process(cohort, tmp_path, undisturbed):
    training = {"runs": {"tiny": RUN.as_params()}, "max_open_shards": 2}
    main(command_line(cohort, tmp_path, training))
    assert without_times(tmp_path) == without_times(undisturbed)


@pytest.mark.usefixtures("own_log")
def test_program_refuses_unusable_patches_before_it_starts_a_rank(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("lamella.training.launch.subprocess.Popen", None)
    run = RUN.model_copy(update={"batch_size": 40})
    training = {"backend": "horovod", "processes": 2, "runs": {"tiny": run.as_params()}}
    with pytest.raises(TrainingError, match="40 x 2 processes = 80 is larger"):
        main(command_line(cohort, tmp_path, training))


@pytest.mark.usefixtures("own_log")
def test_program_refuses_a_missing_patch_file_of_a_test_slide_before_it_starts(cohort, tmp_path):
    shutil.copytree(cohort.parent, tmp_path / "patches")
    index = tmp_path / "patches" / "index.parquet"
    (tmp_path / "patches" / "slides" / "s4.h5").unlink()
    training = {"runs": {"tiny": RUN.as_params()}}
    with pytest.raises(StoreError, match=r"s4\.h5"):
        main(command_line(index, tmp_path / "out", training))
    shorter = tmp_path / "patches" / "slides"
    shutil.copy(shorter / "s3.h5", shorter / "s4.h5")
    shutil.copy(cohort.parent / "slides" / "s4.h5", shorter / "s0.h5")
    with pytest.raises(TrainingError, match=r"s0\.h5: 16 patches of 32 pixels are there"):
        main(command_line(index, tmp_path / "out", training))
    assert not (tmp_path / "out" / "state").exists()


@pytest.mark.usefixtures("own_log")
def test_program_refuses_a_misspelt_network_before_it_starts_a_rank(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("lamella.training.launch.subprocess.Popen", None)
    run = RUN.model_copy(update={"model": "resnt50"})
    training = {"backend": "horovod", "processes": 2, "runs": {"tiny": run.as_params()}}
    with pytest.raises(TrainingError, match="Did you mean 'resnet50'"):
        main(command_line(cohort, tmp_path, training))


# 8 steps an epoch: the fourth step of the second epoch is the twelfth.
@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_the_training_and_is_not_learned_from(
    cohort, tmp_path, monkeypatch, loss
):
    backward, steps = lamella.training.torch_learner.backward, []

    def overflowing(*arguments, **keywords):
        steps.append(1)
        return loss if len(steps) == 12 else backward(*arguments, **keywords)

    monkeypatch.setattr(lamella.training.torch_learner, "backward", overflowing)
    with pytest.raises(TrainingError, match=r"epoch 2, step 4: the loss .* Lower learning_rate"):
        train(cohort, tmp_path)
    assert len(steps) == 12
    assert torch.load(tmp_path / "state" / "checkpoint.pt")["progress"]["epoch"] == 1


def test_network_whose_answers_are_no_numbers_ends_the_training(cohort, tmp_path, monkeypatch):
    def spoiling(network, *_, **__):
        with torch.no_grad():
            for weight in network.parameters():
                weight.grad = torch.full_like(weight, float("nan"))
        return 1.0

    monkeypatch.setattr(lamella.training.torch_learner, "backward", spoiling)
    with pytest.raises(TrainingError, match="epoch 1, validation: an answer of the network is"):
        train(cohort, tmp_path)


def flipped(content: bytes) -> bytes:
    """Return a file with one wrong bit in its largest entry."""
    with ZipFile(BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    place = largest.header_offset + 1000
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def another(content: bytes) -> bytes:
    """Return a file of torch's with something else in it."""
    stream = BytesIO()
    torch.save([torch.zeros(2)], stream)
    return stream.getvalue()


def pickled(content: bytes) -> bytes:
    """Return a file of torch's with pickled code."""
    stream = BytesIO()
    torch.save({"made_by": KilledError}, stream)
    return stream.getvalue()


DAMAGES = {
    "truncated": lambda content: content[:-2000],
    "empty": lambda content: b"",
    "text": lambda content: b"no file of torch" * 100,
    "pickle": lambda content: pickle.dumps({"made_by": {}}),
    "flipped": flipped,
    "another": another,
    "pickled": pickled,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_refused_with_the_remedy(tmp_path, undisturbed, cohort, damage):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "best.pt", tmp_path / "state" / "checkpoint.pt"):
        # The finished training's checkpoint is small; its best weights have the same layout.
        path.write_bytes(damage((tmp_path / "best.pt").read_bytes()))
    with pytest.raises(StoreError, match=r"best\.pt: .*Delete the folder"):
        load_trained(tmp_path)
    with pytest.raises(StoreError, match=r"checkpoint\.pt: .*Delete the folder .*state"):
        train(cohort, tmp_path)


def test_limits_that_change_no_result_do_not_make_a_training_start_anew(cohort, tmp_path, caplog):
    train_and_break_off(cohort, tmp_path, step=12)
    limits = {
        "start_limit_s": 11,
        "exchange_limit_s": 12,
        "checkpoint_minutes": 13,
        "max_open_shards": 3,
        "loader_threads": 3,
    }
    with caplog.at_level(logging.INFO):
        train(cohort, tmp_path, training=TrainingSettings(**limits))
    assert "going on after epoch 1 of 3" in caplog.text

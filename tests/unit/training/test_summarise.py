from pathlib import Path

from lamella.stores.json_files import write_json
from lamella.stores.tables import read_table
from lamella.training.summarise import summarise_runs


def level(auc: float | None) -> dict:
    if auc is None:
        return {"top_k": None}
    limits = None if auc == 1.0 else [auc - 0.2, auc + 0.1]
    return {"top_k": {"auc": auc, "intervals": {"auc": limits}}, "mean": {"auc": 0.0}}


def metrics(folder: Path, run: str, seed: int, auc: float | None, seconds: float) -> Path:
    figures = {
        "slide": level(auc and auc - 0.3),
        "patient": level(1.0),
        "intervals": {"auc": auc and [auc - 0.1, auc + 0.05]},
        "auc": auc,
        "average_precision": 0.5,
        "accuracy": 0.25 * seed,
        "balanced_accuracy": 0.5,
        "loss": 0.1,
        "n": 7,
    }
    content = {
        "run": run,
        "seed": seed,
        "settings": {"model": "resnet18"},
        "validation": figures,
        "test": figures,
        "timings": {"seconds_per_epoch": seconds, "samples_per_s": 100 / seconds},
    }
    write_json(folder / f"{run}{seed}.json", content)
    return folder / f"{run}{seed}.json"


def test_runs_have_mean_and_sample_standard_deviation_over_their_seeds(tmp_path):
    files = [
        metrics(tmp_path, "b", 1, 0.9, 10.0),
        metrics(tmp_path, "a", 1, None, 4.0),
        metrics(tmp_path, "b", 3, 0.8, 20.0),
    ]
    summarise_runs(files, tmp_path / "summary.tsv")
    b, a = read_table(tmp_path / "summary.tsv")
    assert (b["run"], b["model"], b["seeds"]) == ("b", "resnet18", "2")
    # Standard deviation of 0.9 and 0.8: 0.1 / sqrt(2).
    assert (b["test_auc_mean"], b["test_auc_sd"]) == ("0.85", "0.070711")
    assert (b["validation_accuracy_mean"], b["seconds_per_epoch_mean"]) == ("0.5", "15.0")
    assert b["samples_per_s_sd"] == "3.535534"
    assert (a["run"], a["seeds"], a["test_loss_mean"], a["test_loss_sd"]) == ("a", "1", "0.1", "")
    assert a["test_auc_mean"] == ""


def test_slides_and_patients_have_their_score_auc_with_the_mean_limits(tmp_path):
    files = [
        metrics(tmp_path, "b", 1, 0.9, 10.0),
        metrics(tmp_path, "b", 3, 0.8, 20.0),
        metrics(tmp_path, "a", 1, None, 4.0),
    ]
    summarise_runs(files, tmp_path / "summary.tsv")
    b, a = read_table(tmp_path / "summary.tsv")
    # Of 0.9 and 0.8: limits 0.8 to 0.95 and 0.7 to 0.85.
    assert (b["test_auc_low"], b["test_auc_high"]) == ("0.75", "0.9")
    assert (b["test_slide_auc_mean"], b["validation_slide_auc_sd"]) == ("0.55", "0.070711")
    # Of 0.6 and 0.5: limits 0.4 to 0.7 and 0.3 to 0.6.
    assert (b["test_slide_auc_low"], b["test_slide_auc_high"]) == ("0.35", "0.65")
    assert (b["test_patient_auc_mean"], b["test_patient_auc_low"]) == ("1.0", "")
    assert (a["test_slide_auc_mean"], a["test_slide_auc_low"], a["test_auc_low"]) == ("", "", "")

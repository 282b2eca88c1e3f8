"""Worker jobs of a killed stage, among all that SLURM has of a user."""

from pathlib import Path

from lamella.fleet.left_jobs import new_name, read_left

HERE = Path("/lab/my|study")


def test_left_are_jobs_of_the_same_stage_and_results_in_the_same_folder(tmp_path):
    manifest = tmp_path / "predict/thin/manifest.tsv"
    now, killed = (new_name("predict_slides", manifest) for _ in range(2))
    of_another_run = new_name("predict_slides", tmp_path / "predict/wide/manifest.tsv")
    of_another_stage = new_name("extract_patches", manifest)
    said = (
        f"9|{killed}|/lab/my|study\n"
        f"11|{killed}|/lab/my|study\n"
        f"12|{killed}|/lab/other\n"
        f"13|{now}|/lab/my|study\n"
        f"14|{of_another_run}|/lab/my|study\n"
        f"15|{of_another_stage}|/lab/my|study\n"
        f"16|{killed}0|/lab/my|study\n"
        f"17|{killed[:-8]}resumed_|/lab/my|study\n"
        "18|lamella_2a813e0f-6dbe-4d5f-8cd8-08b181be2bf7|/lab/my|study\n"
    )
    assert read_left(said, now, HERE) == ["9", "11"]
    assert read_left("", now, HERE) == []


def test_results_are_the_same_however_they_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = new_name("stub", Path("results/manifest.tsv"))
    there = new_name("stub", tmp_path / "results/manifest.tsv")
    assert here != there
    assert here[:-8] == there[:-8]

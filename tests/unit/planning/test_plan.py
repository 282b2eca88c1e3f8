"""``lamella plan``, from config files to a table."""

import pytest

from lamella.cli import main


def test_plan_shows_every_stage_and_their_sum_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size = ("--width-um", "400", "--height-um", "200")
    assert main(["draw-cohort", ".", "--slides", "6", *size]) == 0
    (tmp_path / "a.yaml").write_text(
        "slides: slides.tsv\npatches: {size_px: 32}\ntraining: {runs: {thin: {epochs: 1}}}\n"
    )
    (tmp_path / "b.yaml").write_text("training: {seeds: [1, 2], runs: {thin: {epochs: 4}}}\n")
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(["plan", "--configfile", "a.yaml", "b.yaml"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:12]}
    assert rows["extract_patches"][1] == "1"
    train = next(line for line in out.splitlines() if line.startswith("train_model thin"))
    assert train.split()[2] == "2"
    assert rows["all"][0] == "all"
    assert "6 of 6 slides have no mask yet: 0.3 of each" in out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--configfile", "absent.yaml"], "absent.yaml: there is no such config file"),
        (["--configfile", "a.yaml", "--tissue-share", "0"], "--tissue-share: 0 is no share"),
    ],
)
def test_wrong_arguments_are_refused(arguments, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("study: s\n")
    assert main(["plan", *arguments]) == 1
    assert told in capsys.readouterr().err

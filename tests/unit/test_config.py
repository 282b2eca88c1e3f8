"""A wrong setting is refused by file and line."""

from pathlib import Path

import pytest
import yaml

from lamella.config import Config, ConfigErrors, load_config, load_slides
from lamella.errors import CohortErrors
from lamella.tissue.settings import TissueMethod, TissueSettings
from lamella.training.settings import RunSettings, TrainingSettings


def load(folder: Path, *texts: str) -> Config:
    files, merged = [], {}
    for number, text in enumerate(texts):
        file = folder / f"config{number}.yaml"
        file.write_text(text)
        files.append(file)
        merged.update(yaml.safe_load(text) or {})
    return load_config(merged, files)


def messages(folder: Path, *texts: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(folder, *texts)
    return str(caught.value).splitlines()


def test_defaults_are_complete_and_survive_the_way_through_snakemake() -> None:
    config = Config()
    assert Config.from_params(config.as_params()) == config
    for name in Config.model_fields:
        section = getattr(config, name)
        if hasattr(section, "as_params"):
            assert type(section).from_params(section.as_params()) == section


def test_misspelt_setting_is_named_with_line_and_the_right_spelling(tmp_path: Path) -> None:
    [line] = messages(tmp_path, "study: a\npatches:\n  size_px: 96\n  mmp: 0.5\n")
    assert line.startswith(f"{tmp_path}/config0.yaml:4: patches.mmp: there is no such setting.")
    assert "Did you mean 'mpp'?" in line


def test_every_fault_of_every_file_is_named_at_once(tmp_path: Path) -> None:
    lines = messages(
        tmp_path,
        "split:\n  train: 0.9\nfleet:\n  max_workers: none\n",
        "training:\n  runs:\n    main:\n      epoch: 3\n",
    )
    assert len(lines) == 3
    assert any(
        "config0.yaml:1: split: train + validation + test is 1.3, not 1" in line for line in lines
    )
    assert any("config0.yaml:4: fleet.max_workers" in line and "'none'" in line for line in lines)
    assert any("config1.yaml:4: training.runs.main.epoch" in line for line in lines)
    assert any("Did you mean 'epochs'?" in line for line in lines)


def test_the_last_file_that_has_the_setting_is_named(tmp_path: Path) -> None:
    [line] = messages(tmp_path, "patches:\n  mpp: 0.5\n", "# own\npatches:\n  mpp: 50\n")
    assert "config1.yaml:3: patches.mpp" in line


def test_path_of_the_table_may_hold_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANS", "/scans")
    assert load(tmp_path, "slides: $SCANS/slides.tsv\n").slides == Path("/scans/slides.tsv")


def test_section_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = "patches:\n  size_px: 64\nstudy: a\npatches:\n  mpp: 1.0\n"
    (message,) = messages(tmp_path, text)
    assert message.endswith(":4: 'patches' stands already in line 1. Join the two.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benchmark:\n  run: other\n", ":2: benchmark.run: 'other' is none of the runs"),
        (
            "study: a\npredict:\n  engine: torch\nbenchmark:\n  engines: [torch]\n"
            "parity:\n  engines: [torch, openvino]\n",
            "",
        ),
        ("parity:\n  engines: [torch, openvino]\n", "onnxruntime is not in parity.engines"),
        (
            "benchmark:\n  precisions: [f32, bf16]\n",
            ":2: benchmark.precisions: bf16 is not in parity.precisions",
        ),
        (
            "parity:\n  precisions: [bf16]\nbenchmark:\n  precisions: [bf16]\n",
            ":2: parity.precisions: f32, which predict computes in, is not there",
        ),
        (
            "parity:\n  precisions: [f32, bf16]\n  limits: {bf16: 0.02}\n"
            "benchmark:\n  precisions: [bf16]\n",
            "",
        ),
        (
            "parity:\n  limit: 0.001\n",
            ":2: parity.limit: there is no such setting. Did you mean 'limits'",
        ),
        ("parity:\n  limits: {f8: 0.5}\n", ":2: parity.limits.f8: there is no such setting"),
        (
            "predict:\n  device: cuda\n",
            ":2: predict.device: predict runs on cuda, parity proves on cpu",
        ),
        (
            "study: a\nbenchmark:\n  device: cuda\n",
            ":3: benchmark.device: patches is timed on cuda, parity proves on cpu",
        ),
        # Who runs no benchmark need not say where.
        ("parity:\n  device: cuda\npredict:\n  device: cuda\n", ""),
        # The other cases compare by themselves.
        ("benchmark:\n  device: cuda\n  cases: [wsi]\n", ""),
        (
            "site:\n  container: /shared/lamella.sif\n  launcher: mpirun\n",
            ":3: site.launcher: mpirun starts no ranks in site.container; srun does",
        ),
        (
            "training:\n  backend: torch\nsite:\n  launcher: horovodrun\n",
            ":4: site.launcher: horovodrun starts processes of backend horovod alone",
        ),
        ("study: a\npredict:\n  target: b\n", ":3: predict.target: 'b' is not in patches.classes"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    if message:
        assert message in messages(tmp_path, text)[0]
    else:
        load(tmp_path, text)


def test_network_that_there_is_not_is_refused_with_the_closest_name(tmp_path: Path) -> None:
    runs = "training:\n  runs:\n    one:\n      model: resnte50\n    two: {model: my_own}\n"
    one, two = messages(tmp_path, runs)
    assert f"{tmp_path}/config0.yaml:4: training.runs.one.model: timm has no network" in one
    assert "'resnte50'. Did you mean 'resnet50'?" in one
    assert "'my_own'. `timm.list_models()` gives all names" in two


def test_table_is_checked_against_the_settings_that_speak_of_it(tmp_path: Path) -> None:
    table = tmp_path / "slides.tsv"
    table.write_text("slide\tpath\tlabel\na\ta.svs\tnormal\nb\tb.svs\tTumor\n")
    config = Config(slides=table)
    with pytest.raises(CohortErrors, match=r"slides\.tsv:3: label 'Tumor' is class 'tumor'"):
        load_slides(config)
    table.write_text("slide\tpath\tlabel\na\ta.svs\tnormal\nb\tb.svs\tG2\n")
    assert [slide.label for slide in load_slides(config)] == ["normal", "G2"]


def test_method_mask_needs_a_mask_for_every_slide(tmp_path: Path) -> None:
    table = tmp_path / "slides.tsv"
    table.write_text("slide\tpath\tmask\na\ta.svs\ta.png\nb\tb.svs\t\n")
    needed = Config(slides=table, tissue=TissueSettings(method=TissueMethod.MASK))
    with pytest.raises(CohortErrors, match=r"slides\.tsv:3: slide 'b' has no mask") as caught:
        load_slides(needed)
    assert len(caught.value.errors) == 1
    assert len(load_slides(Config(slides=table))) == 2


def test_columns_that_runs_learn_are_checked_in_every_cell(tmp_path: Path) -> None:
    table = tmp_path / "slides.tsv"
    table.write_text("slide\tpath\tage\ter\na\ta.svs\t41\t1\nb\tb.svs\told\t\n")
    labels = RunSettings(target={"kind": "multi_label", "columns": ["er"]})
    numbers = RunSettings(target={"kind": "regression", "columns": ["age"]})
    runs = {"er": labels, "age": numbers, "again": numbers}
    learning = Config(slides=table, training=TrainingSettings(runs=runs))
    with pytest.raises(CohortErrors, match=r"slides\.tsv:3: age is 'old'") as caught:
        load_slides(learning)
    assert len(caught.value.errors) == 1
    used = TrainingSettings(runs=runs, use=["er"])
    assert len(load_slides(Config(slides=table, training=used))) == 2
    odd = RunSettings(target={"kind": "regression", "columns": ["agee"]})
    with pytest.raises(CohortErrors, match="Did you mean 'age'"):
        load_slides(Config(slides=table, training=TrainingSettings(runs={"odd": odd})))

"""Which rules run in the site's container, and when such a run is refused."""

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
SUBMITS_ITSELF = {"segment_tissue", "extract_patches", "predict_slides"}
GOALS = {"all", "patches", "train", "export", "predict", "interpret", "benchmark", "report"}


@pytest.fixture
def image(workplace, tmp_path, monkeypatch):
    """An image and an engine; a plan only looks for both."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apptainer").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    path = tmp_path / "lamella.sif"
    path.touch()
    workplace.write_config({"site": {"container": str(path), "partition": "cpu"}}, "site.yaml")
    return path


def containers(workplace, *arguments):
    """Return the image of every rule, as Snakemake has read them."""
    asking = workplace.folder / "Snakefile"
    asking.write_text(
        f'include: "{REPOSITORY}/Snakefile"\n'
        "for each in workflow.rules:\n"
        '    print("IMAGE", each.name, each.container_img)\n'
    )
    answer = workplace.snakemake("--list-rules", "--snakefile", asking, *arguments)
    assert answer.returncode == 0, answer.text
    found = dict(re.findall(r"^IMAGE (\w+) (.*)$", answer.text, re.MULTILINE))
    return {rule: image for rule, image in found.items() if rule not in GOALS}


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_rules_run_in_the_container_but_those_that_ask_slurm(workplace, image, cluster):
    found = containers(workplace, "--config", f"fleet={{cluster: {cluster}}}")
    outside = {rule for rule, name in found.items() if name in {"None", "False"}}
    always = {"train_model", "prepare_onnx2tf"}
    assert outside == always | (SUBMITS_ITSELF if cluster == "slurm" else set())
    assert {found[rule] for rule in found.keys() - outside} == {str(image)}
    assert len(found) == 21


def test_without_the_switch_no_rule_has_a_container_and_no_engine_is_needed(
    workplace, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = containers(workplace)
    assert set(found.values()) <= {"None", "False"}
    plan = workplace.snakemake("--dry-run")
    assert plan.returncode == 0, plan.text
    assert "--container" not in plan.text


def test_ranks_of_a_training_are_told_of_the_container(workplace, image):
    # As Snakemake asks for its version in a dry-run, too.
    program = image.parent / "programs/apptainer"
    program.write_text("#!/bin/sh\necho apptainer version 1.4.5\n")
    plan = workplace.snakemake("--dry-run", "train")
    assert plan.returncode == 0, plan.text
    shell = next(line for line in plan.text.splitlines() if "lamella.training" in line)
    assert f" --container {image} --settings " in shell


def test_run_that_would_ignore_the_container_is_refused(workplace, image, tmp_path):
    lines = yaml.safe_load((REPOSITORY / "profiles/local/config.yaml").read_text())
    del lines["software-deployment-method"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own/config.yaml").write_text(yaml.safe_dump(lines))
    answer = workplace.snakemake("--dry-run", profile=tmp_path / "own")
    assert answer.returncode == 1
    assert "site.container: Snakemake would run its jobs outside it. Take" in answer.text


def test_image_that_is_not_there_is_refused_before_any_job(workplace, image):
    image.unlink()
    answer = workplace.snakemake("--dry-run")
    assert answer.returncode == 1
    assert f"site.container: there is no image {image}. Build it" in answer.text

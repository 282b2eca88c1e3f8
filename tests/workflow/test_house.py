"""What the repository promises about itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from lamella.config import load_config
from lamella.documentation import documents

REPOSITORY = Path(__file__).parents[2]
CONFIGS = [
    REPOSITORY / "config" / "config.yaml",
    *sorted((REPOSITORY / "config" / "examples").glob("*.yaml")),
]
HEAVY = ("torch", "tensorflow", "mlflow", "distributed", "onnxruntime", "openvino", "matplotlib")


def test_generated_schema_and_tables_are_fresh():
    stale = [path.name for path, text in documents(REPOSITORY).items() if path.read_text() != text]
    assert stale == [], "run `make docs`"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_committed_config_is_valid_for_settings_and_schema(path):
    values = yaml.safe_load(path.read_text())
    assert load_config(values, [path]).study == values.get("study", "lamella")
    schema = json.loads((REPOSITORY / "workflow/schemas/config.schema.json").read_text())
    jsonschema.validate(values, schema)


def test_schema_refuses_a_misspelt_setting():
    schema = json.loads((REPOSITORY / "workflow/schemas/config.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"patches": {"size_pixel": 96}}, schema)


def test_what_snakemake_parses_imports_no_heavy_library():
    common = (REPOSITORY / "workflow" / "rules" / "common.smk").read_text()
    rooms = re.search(r"^from lamella import \((.*?)\)", common, re.MULTILINE | re.DOTALL)[1]
    program = (
        f"import sys, lamella.config, lamella.cli, lamella.tracking.workflow\n"
        f"from lamella import {' '.join(rooms.split()).rstrip(',')}\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_every_locked_package_has_a_hash_and_no_file_names_an_index():
    for path in sorted((REPOSITORY / "envs").iterdir()):
        text = path.read_text()
        assert "://" not in text
        assert "--index" not in text
    for path in sorted((REPOSITORY / "envs").glob("*.lock")):
        entries = re.split(r"\n(?=[a-zA-Z0-9])", path.read_text())
        assert all("--hash=sha256:" in entry for entry in entries)
        assert len(entries) == len(re.findall(r"^\S+==\S+", path.read_text(), re.MULTILINE))


def test_readme_is_at_most_150_lines_and_its_links_lead_somewhere():
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_shell_scripts_stop_at_errors_and_are_executable():
    slurm = REPOSITORY / "tests/integration/slurm"
    scripts = [
        *(REPOSITORY / "scripts").glob("*.sh"),
        *slurm.glob("*.sh"),
        REPOSITORY / ".ci" / "run",
    ]
    for script in scripts:
        assert re.search(r"^set -e?uo pipefail$", script.read_text(), re.MULTILINE), script.name
        assert os.access(script, os.X_OK), script.name


def test_continuous_integration_runs_make_test_and_nothing_else():
    lines = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    commands = [
        line for line in lines if line and not line.startswith(("#", "set", "cd", "export"))
    ]
    assert commands == ["exec make test"]


def test_setup_that_is_done_says_so_and_does_nothing():
    ended = subprocess.run(
        [REPOSITORY / "scripts" / "setup.sh", "--is-done"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode == 1:
        pytest.skip("`make setup` has something to do here, which a test must not start")
    assert "nothing to be done" in ended.stderr

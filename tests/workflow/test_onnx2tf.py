"""``scripts/onnx2tf.sh`` where the environment cannot be made."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

CHECKOUT = Path(__file__).parents[2]
READ = (
    *("scripts/onnx2tf.sh", "scripts/private_uv.sh", "scripts/fetching.bash"),
    *("envs/onnx2tf.lock", "envs/uv.lock"),
)


def test_the_run_goes_on_without_the_environment_and_says_why(tmp_path: Path) -> None:
    rules = (CHECKOUT / "workflow" / "rules" / "layer2_training.smk").read_text()
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho half a name\necho no internet >&2\nexit 3\n")
    program.chmod(0o755)
    (quoted,) = re.findall(r"rule prepare_onnx2tf:.*?shell:\n(.*?)\n\n", rules, re.DOTALL)
    command = ast.literal_eval(f"({quoted})").format(
        params=SimpleNamespace(program=program),
        output=SimpleNamespace(python=tmp_path / "onnx2tf.txt"),
        log=tmp_path / "log",
    )
    # As Snakemake runs it.
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=True
    )
    assert ended.stderr == "no internet\n"
    assert (tmp_path / "onnx2tf.txt").read_text() == ""


def test_an_environment_that_cannot_be_made_is_told_with_a_remedy(tmp_path: Path) -> None:
    for name in READ:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    ended = subprocess.run(
        [tmp_path / "scripts" / "onnx2tf.sh"],
        env={**os.environ, "LAMELLA_PYTHON": "/absent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    # The name of a Python, which a rule would take for one.
    assert not ended.stdout
    *_, why, remedy = ended.stderr.splitlines()
    assert "/absent" in why
    assert "error: the environment cannot be made" in remedy
    assert "take tensorflow out of parity.engines and benchmark.engines" in remedy

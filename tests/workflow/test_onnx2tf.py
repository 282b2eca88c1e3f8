"""``scripts/onnx2tf.sh`` where the environment cannot be made."""

import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
READ = ("scripts/onnx2tf.sh", "scripts/private_uv.sh", "envs/onnx2tf.lock", "envs/uv.lock")


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

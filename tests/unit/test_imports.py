"""Jobs that work for seconds do not spend longer on imports."""

import subprocess
import sys

import pytest

SLOW = {"mlflow", "sklearn", "torch"}


@pytest.mark.parametrize(
    "module", ["lamella.benchmark.engine", "lamella.workloads.time", "lamella.report.build"]
)
def test_a_job_does_not_import_what_it_does_not_need(module):
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert module in loaded.stdout.split()
    assert not SLOW & set(loaded.stdout.split())

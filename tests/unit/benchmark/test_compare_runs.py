"""The program that compares two runs of the benchmark."""

import subprocess
import sys
from pathlib import Path

import pytest

from lamella.stores.tables import write_table
from lamella.workloads.table import COLUMNS

PROGRAM = Path(__file__).parents[3] / "benchmarks/compare_runs.py"


def run_of(folder, *engines):
    """Write the table of a run: engines with their medians and verdicts."""
    shared = {"case": "ct", "batch_size": 1, "mode": "sequential", "run_items": 40}
    shared["precision"] = "f32"
    rows = [
        {**shared, "engine": engine, "total_ms_median": median, "verdict": verdict}
        for engine, median, verdict in engines
    ]
    write_table(folder / "workloads.tsv", COLUMNS, rows)
    return folder


def compared(*folders):
    return subprocess.run(
        [sys.executable, PROGRAM, *folders], capture_output=True, text=True, check=False
    )


def test_engines_that_are_not_valid_in_both_are_named_and_left_out(tmp_path):
    valid = [(engine, 50, "valid") for engine in ("openvino", "onnxruntime", "tensorflow")]
    first = run_of(tmp_path / "1", ("torch", 100, "valid"), *valid)
    second = run_of(
        tmp_path / "2",
        ("torch", 104, "valid"),
        ("openvino", 10, "invalid"),
        ("tensorflow", "", "unavailable"),
    )
    assert compared(first, second).stdout.splitlines() == [
        "ct batch 1 sequential 40: openvino f32 is left out, valid and invalid",
        "ct batch 1 sequential 40: onnxruntime f32 is left out, valid and absent",
        "ct batch 1 sequential 40: tensorflow f32 is left out, valid and unavailable",
        "ct batch 1 sequential 40: ranked alike; torch f32 1.040",
        "largest deviation of a median: 4.0 %",
    ]


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ((101, 100), "ranked alike"),  # as good as equal in the second run
        ((104, 100), "ranked alike"),
        ((106, 100), "RANKED OTHERWISE"),
    ],
)
def test_engines_that_are_apart_in_both_runs_may_not_change_places(later, said, tmp_path):
    pairs = zip(("torch", "openvino"), (100, 110), later, strict=True)
    first, second = zip(*(((n, a, "valid"), (n, b, "valid")) for n, a, b in pairs), strict=True)
    output = compared(run_of(tmp_path / "1", *first), run_of(tmp_path / "2", *second)).stdout
    assert output.startswith(f"ct batch 1 sequential 40: {said};")


def test_runs_without_a_common_engine_are_an_error(tmp_path):
    first = run_of(tmp_path / "1", ("torch", 100, "valid"), ("openvino", 50, "invalid"))
    second = run_of(tmp_path / "2", ("openvino", 50, "valid"))
    for folders in (
        (first, second),
        (first, tmp_path / "absent"),
        (tmp_path / "a", tmp_path / "b"),
    ):
        ended = compared(*folders)
        assert ended.returncode == 1
        assert "no engine is valid in the same case in both" in ended.stderr
        assert "deviation" not in ended.stdout

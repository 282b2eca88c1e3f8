"""The files that stand beside those of FAST: what is written out here are its own headers."""

import pytest

from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.settings import Device
from lamella.workloads.cell import Mode, RunTimes, WorkloadCell, WorkloadMeasurement, WorkloadRuns
from lamella.workloads.fast_table import write_fast_table
from lamella.workloads.settings import WorkloadSize
from lamella.workloads.stages import Stage, StageTimes

OF_FRAMES = (
    "Engine;Device Type;Iteration;NN input AVG;NN input STD;NN inference AVG;NN inference STD;"
    "NN output AVG;NN output STD;Total"
)
OF_PATCHES = (
    "Engine;Device Type;Iteration;Patch generator AVG;Patch generator STD;NN input AVG;"
    "NN input STD;NN inference AVG;NN inference STD;NN output AVG;NN output STD;"
    "Patch stitcher AVG;Patch stitcher STD;Total"
)
MEAN_AND_SD_MS = {
    Stage.TISSUE: (90.0, 0.0),
    Stage.PATCH_GENERATOR: (1.5, 0.25),
    Stage.NN_INPUT: (0.125, 0.0),
    Stage.NN_INFERENCE: (20.0, 3.0),
    Stage.NN_OUTPUT: (0.5, 0.0625),
    Stage.PATCH_STITCHER: (0.75, 0.03),
}


def kind_of(batch_size, *totals_ms, mode=Mode.SEQUENTIAL):
    stages = {
        stage: StageTimes(calls=4, mean_ms=mean, sd_ms=sd, total_ms=4 * mean)
        for stage, (mean, sd) in MEAN_AND_SD_MS.items()
    }
    return WorkloadRuns(
        mode=mode,
        batch_size=batch_size,
        runs=[
            RunTimes(total_ms=total, start_ms=0.0, cpu_ms=1.0, stages=stages) for total in totals_ms
        ],
        of_labels=False,
        unanswered=0,
        reference_difference=0.0,
        result_difference=0.0,
    )


def lines_of(path, *kinds, **changes):
    measurement = WorkloadMeasurement(
        version="1",
        **dict.fromkeys(("import_ms", "load_ms", "first_call_ms", "peak_rss_mib"), 1.0),
        build_ms=None,
        others_cpu_share=0.0,
        energy_source="none",
        max_abs_difference=0.0,
        label_agreement=1.0,
        compared_answers=400,
        kinds=kinds,
    )
    facts = {
        "case": BenchmarkCase.WSI,
        "size": WorkloadSize.PAPER,
        "device": Device.CPU,
        "precision": Precision.F32,
        "verdict": Verdict.VALID,
        "items": 4,
    }
    cell = WorkloadCell(
        **(facts | changes),
        **dict.fromkeys(("reason", "source", "model_digest", "lamella_version"), ""),
        engine=EngineName.OPENVINO,
        threads=2,
        readers=2,
        not_comparable=(),
        run_items=4,
        parameters=1,
        limit=1e-4,
        host={},
        measurement=measurement,
    )
    write_fast_table(path / "cell.csv", cell)
    return (path / "cell.csv").read_text().splitlines()


def test_runs_of_patches_have_a_row_each_under_the_header_of_fast(tmp_path):
    kinds = (kind_of(1, 250.0, 260.5), kind_of(1, 99.0, mode=Mode.OVERLAPPED))
    stages = (
        "1.500000;0.250000;0.125000;0.000000;20.000000;3.000000;0.500000;0.062500;0.750000;0.030000"
    )
    for case in (BenchmarkCase.WSI, BenchmarkCase.CT):
        assert lines_of(tmp_path, *kinds, case=case) == [
            OF_PATCHES,
            f"openvino;CPU;1;{stages};250.000000",
            f"openvino;CPU;2;{stages};260.500000",
        ]


def test_runs_of_frames_have_no_columns_of_patches(tmp_path):
    changes = {"case": BenchmarkCase.ULTRASOUND, "device": Device.CUDA}
    assert lines_of(tmp_path, kind_of(1, 250.0), **changes) == [
        OF_FRAMES,
        "openvino;GPU;1;0.125000;0.000000;20.000000;3.000000;0.500000;0.062500;250.000000",
    ]


@pytest.mark.parametrize(
    ("batch_size", "changes", "name"),
    [
        (16, {}, "openvino batch 16"),
        (1, {"size": WorkloadSize.SMALL}, "openvino small"),
        (1, {"verdict": Verdict.INVALID}, "openvino invalid"),
        (
            16,
            {
                "precision": Precision.BF16,
                "items": 8,
                "size": WorkloadSize.SMALL,
                "verdict": Verdict.INVALID,
            },
            "openvino bf16 batch 16 extrapolated small invalid",
        ),
    ],
)
def test_what_has_no_column_stands_behind_the_engine_s_name(tmp_path, batch_size, changes, name):
    (row,) = lines_of(tmp_path, kind_of(batch_size, 250.0), **changes)[1:]
    assert row.split(";")[0] == name

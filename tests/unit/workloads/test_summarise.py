"""The workloads side by side: what is written out here was computed by hand."""

import math
import re

import pytest

from lamella.benchmark.cell import write_cell
from lamella.benchmark.settings import BenchmarkCase
from lamella.engines.settings import EngineName
from lamella.engines.verdict import Verdict
from lamella.settings import Device
from lamella.stores.tables import read_table
from lamella.tracking.record import check_files, read_record
from lamella.tracking.settings import TrackingSettings
from lamella.workloads.cell import (
    Mode,
    RunTimes,
    WorkloadCell,
    WorkloadMeasurement,
    WorkloadRuns,
)
from lamella.workloads.settings import WorkloadSize
from lamella.workloads.stages import Stage, StageTimes
from lamella.workloads.summarise import summarise_workloads
from lamella.workloads.table import COLUMNS, overlap_cost


def stage(total_ms: float, *, calls: int = 4, sd_ms: float = 0.0) -> StageTimes:
    return StageTimes(calls=calls, mean_ms=total_ms / calls, sd_ms=sd_ms, total_ms=total_ms)


def run_of(total_ms: float, inference_ms: float, *, sd_ms: float = 0.0) -> RunTimes:
    return RunTimes(
        total_ms=total_ms,
        start_ms=0.0,
        cpu_ms=1.5 * total_ms,
        stages={
            Stage.PATCH_GENERATOR: stage(80.0),
            Stage.NN_INFERENCE: stage(inference_ms, sd_ms=sd_ms),
        },
    )


def kind_of(*runs: RunTimes, mode: Mode = Mode.SEQUENTIAL, batch_size: int = 1) -> WorkloadRuns:
    return WorkloadRuns(
        mode=mode,
        batch_size=batch_size,
        runs=runs,
        of_labels=False,
        unanswered=0,
        reference_difference=0.0,
        result_difference=0.0,
    )


def measured(*kinds: WorkloadRuns, difference: float = 0.0) -> WorkloadMeasurement:
    return WorkloadMeasurement(
        version="1.2",
        import_ms=20.0,
        load_ms=30.0,
        build_ms=35.0,
        first_call_ms=40.0,
        peak_rss_mib=500.0,
        others_cpu_share=0.25,
        energy_source="RAPL package-0",
        max_abs_difference=difference,
        label_agreement=0.9975,
        compared_answers=400,
        kinds=kinds,
    )


def cell_of(
    engine: EngineName, measurement: WorkloadMeasurement | None, **changes: object
) -> WorkloadCell:
    cell = WorkloadCell(
        case=BenchmarkCase.WSI,
        size=WorkloadSize.SMALL,
        engine=engine,
        device=Device.CPU,
        precision="f32",
        threads=2,
        readers=2,
        verdict=Verdict.VALID,
        reason="",
        not_comparable=("smaller than in the paper", "2 runs, fewer than 10"),
        items=4,
        run_items=4,
        source="drawn",
        parameters=1000,
        model_digest="",
        limit=1e-4,
        host={"name": "node", "cpu": "X", "cpus": 2},
        lamella_version="0",
        measurement=measurement,
    )
    return WorkloadCell.model_validate(cell.model_dump() | changes)


TORCH = cell_of(
    EngineName.TORCH,
    measured(
        kind_of(run_of(200.0, 100.0, sd_ms=3.0), run_of(300.0, 140.0, sd_ms=4.0)),
        kind_of(run_of(150.0, 120.0), run_of(270.0, 100.0), mode=Mode.OVERLAPPED),
    ),
)
OPENVINO = cell_of(
    EngineName.OPENVINO,
    measured(kind_of(run_of(100.0, 10.0)), difference=0.5),
    verdict=Verdict.INVALID,
    reason="differs by 0.5 | limit 0.0001",
)
ABSENT = cell_of(
    EngineName.TENSORFLOW, None, verdict=Verdict.UNAVAILABLE, reason="its library is absent"
)


@pytest.fixture
def tracked(monkeypatch):
    """Folders whose records were sent."""
    sent = []
    monkeypatch.setattr(
        "lamella.benchmark.track.send_records", lambda folders, _: (sent.extend(folders), [])
    )
    return sent


@pytest.fixture
def summarised(tmp_path, tracked):
    def summarise(*cells):
        paths = [tmp_path / f"{number}.json" for number in range(len(cells))]
        for path, cell in zip(paths, cells, strict=True):
            write_cell(path, cell)
        outputs = {
            "output": tmp_path / "workloads.tsv",
            "tables": tmp_path / "workloads.md",
            "stages": tmp_path / "stages.svg",
            "parity": tmp_path / "parity.svg",
        }
        summarise_workloads(results=paths, **outputs, tracking=TrackingSettings())
        return {name: path.read_text("utf-8") for name, path in outputs.items()} | {
            "rows": read_table(outputs["output"])
        }

    return summarise


def test_energy_is_the_mean_of_the_runs_and_empty_where_one_has_none(summarised):
    runs = [run_of(100.0, 10.0).model_copy(update={"joules": value}) for value in (2.0, 3.0, None)]
    for chosen, expected in ((runs[:2], "2.500"), (runs, "")):
        (row,) = summarised(cell_of(EngineName.TORCH, measured(kind_of(*chosen))))["rows"]
        assert (row["joules"], row["energy_source"]) == (expected, "RAPL package-0")


def test_results_tables_and_pictures_are_tracked(summarised, tracked, tmp_path):
    summarised(TORCH, OPENVINO)
    folder = tmp_path / "workloads"
    assert tracked == [tmp_path / "0", tmp_path / "1", folder]
    record = read_record(folder)
    assert (record.kind, record.name) == ("benchmark", "benchmark workloads")
    check_files(record, folder)
    names = ["workloads.tsv", "workloads.md", "stages.svg", "parity.svg"]
    assert [(folder / name).resolve() for name in record.artifacts] == [
        tmp_path / name for name in names
    ]


def test_every_batch_size_and_mode_has_a_row_and_an_absent_engine_one_with_the_reason(summarised):
    rows = summarised(TORCH, OPENVINO, ABSENT)["rows"]
    assert [(row["engine"], row["batch_size"], row["mode"], row["verdict"]) for row in rows] == [
        ("torch", "1", "sequential", "valid"),
        ("torch", "1", "overlapped", "valid"),
        ("openvino", "1", "sequential", "invalid"),
        ("tensorflow", "", "", "unavailable"),
    ]
    assert rows[3]["reason"] == "its library is absent"
    assert rows[3]["total_ms_mean"] == ""


def test_a_batch_size_that_an_engine_failed_at_has_a_row_that_says_why(summarised):
    large = TORCH.measurement.kinds[0].model_copy(update={"batch_size": 32})
    failed = TORCH.measurement.model_copy(
        update={"kinds": (large, *TORCH.measurement.kinds), "batch_failures": {16: "no room"}}
    )
    found = summarised(TORCH.model_copy(update={"measurement": failed}), OPENVINO)
    assert [(row["engine"], row["batch_size"], row["verdict"]) for row in found["rows"]] == [
        ("torch", "1", "valid"),
        ("torch", "1", "valid"),
        ("torch", "16", "unavailable"),
        ("torch", "32", "valid"),
        ("openvino", "1", "invalid"),
    ]
    assert {row["version"] for row in found["rows"]} == {TORCH.measurement.version}
    assert "| torch, batch 16 | – | – | – | **unavailable**: no room |" in found["tables"]


def test_a_row_holds_the_figures_of_all_runs(summarised):
    row = summarised(TORCH)["rows"][0]
    assert tuple(row) == COLUMNS
    expected = {
        "runs": "2",
        "items": "4",
        "run_items": "4",
        "total_ms_mean": "250.000",
        "total_ms_sd": "70.711",  # 100 / sqrt(2)
        "total_ms_median": "250.000",
        "items_per_s": "16.000",  # 8 in half a second
        "speed_against_torch": "1.000",
        "patch_generator_ms": "80.000",
        "nn_inference_ms": "120.000",
        "tissue_ms": "",
        "nn_inference_call_ms_mean": "30.000",
        "nn_inference_call_ms_sd": "6.124",  # sqrt((9 + 16) / 2 + 5²)
        "cpu_ms": "375.000",
        "overlap_cost": "",
        "import_ms": "20.000",
        "load_ms": "30.000",
        "build_ms": "35.000",
        "first_call_ms": "40.000",
        "peak_rss_mib": "500.000",
        "others_cpu_share": "0.250",
        "max_abs_difference": "0.000e+00",
        "limit": "0.0001",
        "label_agreement": "0.997500",
        "compared_answers": str(TORCH.measurement.compared_answers),
        "comparable": "no: smaller than in the paper; no: 2 runs, fewer than 10",
        "driver": "",
    }
    assert {key: row[key] for key in expected} == expected


def half_a_run(total_ms: float, *, start_ms: float, reading_ms: float = 80.0) -> RunTimes:
    """Return a run of half the items, 20 ms of whose start found the tissue."""
    run = run_of(total_ms, 100.0)
    stages = {Stage.PATCH_GENERATOR: stage(reading_ms), Stage.TISSUE: stage(20.0, calls=1)}
    return run.model_copy(update={"start_ms": start_ms, "stages": run.stages | stages})


def test_runs_of_half_the_items_take_twice_as_long_but_for_the_start(summarised):
    halves = half_a_run(200.0, start_ms=30.0)
    ahead = kind_of(halves, mode=Mode.OVERLAPPED)
    cell = cell_of(EngineName.TORCH, measured(kind_of(halves, halves), ahead), items=8)
    found = summarised(cell, ABSENT.model_copy(update={"items": 8}))
    expected = {
        "items": "8",
        "run_items": "4",
        "total_ms_mean": "370.000",  # 30 + 2 * 170
        "total_ms_sd": "",
        "items_per_s": "21.622",
        "tissue_ms": "20.000",
        "nn_inference_ms": "200.000",
        "nn_inference_call_ms_mean": "25.000",
        "cpu_ms": "570.000",  # 30 + 2 * 270
    }
    assert {key: found["rows"][0][key] for key in expected} == expected
    assert "| torch, extrapolated |" in found["tables"]
    assert ">torch, extrapolated<" in found["stages"]
    assert ">torch, extrapolated<" in found["parity"]
    assert "| tensorflow | – |" in found["tables"]
    assert "the first 4 of 8 frames or patches of drawn" in found["tables"]
    assert found["rows"][1]["overlap_cost"] == ""


@pytest.mark.parametrize(
    ("half", "total_ms"),
    [
        # A batch takes 60 ms to read and 50 ms to compute: after the first the engine never waits.
        (half_a_run(180.0, start_ms=80.0, reading_ms=120.0), "280.000"),
        # It takes 100 ms and 10 ms: both are there at once, two more 100 ms later.
        (half_a_run(140.0, start_ms=120.0, reading_ms=200.0), "220.000"),
        # Two CPUs work 20 ms once, and 220 ms for each half: the readers had begun before.
        (half_a_run(160.0, start_ms=150.0, reading_ms=40.0), "230.000"),
    ],
)
def test_overlapped_runs_take_as_long_as_the_slowest_of_engine_two_readers_and_all_cpus(
    summarised, half, total_ms
):
    halves = measured(kind_of(half, mode=Mode.OVERLAPPED))
    (row,) = summarised(cell_of(EngineName.TORCH, halves, items=8))["rows"]
    assert row["total_ms_mean"] == total_ms
    # What was read for the first batch is multiplied, too.
    assert float(row["cpu_ms"]) == 20 + 2 * (1.5 * half.total_ms - 20)


def test_one_run_has_no_deviation(summarised):
    assert summarised(OPENVINO)["rows"][0]["total_ms_sd"] == ""


@pytest.mark.parametrize(
    ("inference_ms", "readers", "cpus", "expected"),
    [
        (120.0, 2, 2.0, 150 / 120),  # the engine is the slowest; all CPUs need 112.5 ms
        (20.0, 1, 4.0, 150 / 80),  # one reader
        (20.0, 2, 2.0, 150 / 112.5),  # the CPUs
    ],
)
def test_overlap_costs_what_exceeds_the_slowest_of_engine_readers_and_cpus(
    inference_ms, readers, cpus, expected
):
    alone = [run_of(999.0, inference_ms)]
    cost = overlap_cost(run_of(150.0, 149.0), alone, readers=readers, cpus=cpus)
    assert cost == pytest.approx(expected)


def test_the_cost_of_overlapped_runs_is_their_median(summarised):
    # 150 / 120, and 270 / 202.5 of two CPUs.
    assert summarised(TORCH)["rows"][1]["overlap_cost"] == f"{(1.25 + 4 / 3) / 2:.3f}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "2.500"),
        ({"threads": 1}, ""),
        ({"size": "paper"}, ""),
        ({"run_items": 2}, ""),
        ({"device": "cuda"}, ""),
        ({"case": "ct"}, ""),
        ({"host": {"name": "n", "cpu": "Y", "cpus": 2}}, ""),
        ({"host": {"name": "node", "cpu": "X", "cpus": 2, "gpu": "H100"}}, ""),
    ],
)
def test_an_engine_is_compared_with_torch_under_the_same_conditions(summarised, changes, expected):
    other = WorkloadCell.model_validate(OPENVINO.model_dump() | changes)
    assert summarised(TORCH, other)["rows"][2]["speed_against_torch"] == expected


def test_the_paper_s_table_keeps_invalid_and_absent_engines_and_says_why(summarised):
    text = summarised(TORCH, OPENVINO, ABSENT)["tables"]
    lines = text.splitlines()
    assert lines[0] == "## wsi"
    assert lines[2] == (
        "node: X, threads: 2, cpu, size: small, 4 frames or patches of drawn;"
        " not comparable: smaller than in the paper; not comparable: 2 runs, fewer than 10"
    )
    assert lines[6:] == [
        "| Engine | Patch generator | NN inference | Total | Verdict |",
        "| --- | ---: | ---: | ---: | --- |",
        "| torch | 20.00 ± 0.00 | 30.00 ± 6.12 | 250.00 ± 70.71 | valid |",
        "| openvino | 20.00 ± 0.00 | 2.50 ± 0.00 | 100.00 |"
        " **invalid**: differs by 0.5 \\| limit 0.0001 |",
        "| tensorflow | – | – | – | **unavailable**: its library is absent |",
    ]


def test_batch_sizes_are_named_where_there_are_several(summarised):
    both = cell_of(
        EngineName.TORCH,
        measured(kind_of(run_of(200.0, 100.0)), kind_of(run_of(100.0, 50.0), batch_size=16)),
    )
    text = summarised(both)["tables"]
    assert "| torch, batch 1 |" in text
    assert "| torch, batch 16 |" in text


def test_the_picture_of_stages_has_a_bar_of_each_measured_engine(summarised):
    picture = summarised(TORCH, OPENVINO, ABSENT)["stages"]
    names = re.findall(r'class="y"[^>]*>([^<]+)<', picture)
    assert names == ["torch", "openvino (invalid)"]
    assert "0.25 s" in picture


def test_the_picture_of_parity_names_every_point_and_marks_invalid_ones(summarised):
    picture = summarised(TORCH, OPENVINO)["parity"]
    assert ">torch<" in picture
    assert ">openvino<" in picture
    fills = re.findall(r'<circle[^>]*fill="(#\w+)"', picture)
    assert fills == ["#4b3f9e", "#ffffff"]


def test_an_engine_that_answers_nan_is_in_the_picture(summarised):
    broken = cell_of(
        EngineName.ONNXRUNTIME,
        measured(kind_of(run_of(100.0, 10.0)), difference=math.nan),
        verdict=Verdict.INVALID,
        reason="answers that are not finite, to examples",
    )
    picture = summarised(TORCH, broken)["parity"]
    assert "not finite" in picture
    assert 'cx="nan"' not in picture


def test_without_torch_the_picture_says_that_it_has_no_values(summarised):
    assert "wsi (small, not comparable): no values" in summarised(OPENVINO)["parity"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ([{}, {}], "wsi (small, not comparable)"),
        ([{"size": "paper"}, {}], "wsi (paper, small, not comparable)"),
        ([{"size": "paper", "not_comparable": ()}] * 2, "wsi (paper)"),
        (
            [{"size": "paper", "not_comparable": ()}, {"size": "paper"}],
            "wsi (paper, some not comparable)",
        ),
    ],
)
def test_a_panel_says_its_size_and_whether_it_is_comparable(summarised, changes, name):
    cells = [
        WorkloadCell.model_validate(cell.model_dump() | change)
        for cell, change in zip((TORCH, OPENVINO), changes, strict=True)
    ]
    found = summarised(*cells)
    heads = [
        re.findall(r"font-weight:600[^>]*>([^<]+)<", found[each]) for each in ("stages", "parity")
    ]
    assert heads == [[name], [name]]

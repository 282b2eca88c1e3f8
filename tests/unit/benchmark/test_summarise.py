import pytest

from lamella.benchmark.cell import (
    BatchResult,
    BenchmarkCell,
    Figure,
    Measurement,
    ScenarioResult,
    Trial,
    write_cell,
)
from lamella.benchmark.settings import BenchmarkCase, Scenario
from lamella.benchmark.summarise import COLUMNS, SCENARIO_COLUMNS, summarise_benchmark
from lamella.benchmark.track import record_of
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.settings import Device
from lamella.stores.tables import read_table
from lamella.tracking.record import read_record
from lamella.tracking.settings import TrackingSettings

SINGLE_STREAM = ScenarioResult(
    scenario=Scenario.SINGLE_STREAM,
    patches_per_query=1,
    queries=20,
    figure=Figure.LATENCY_MS_P90,
    value=None,
)
SERVER = ScenarioResult(
    scenario=Scenario.SERVER,
    patches_per_query=1,
    queries=1986,
    figure=Figure.QUERIES_PER_S,
    value=41.25,
    bound_ms=15.0,
    trials=(
        Trial(queries_per_s=82.5, late=(4, 6), kept=False),
        Trial(queries_per_s=41.25, late=(1, 0, 3), kept=True),
    ),
    max_abs_difference=2.5e-7,
)


def batch_of(size: int, speed: float) -> BatchResult:
    return BatchResult(
        batch_size=size,
        warmup=5,
        iterations=100,
        first_call_ms=30.0,
        latency_ms_median=12.0,
        latency_ms_p90=None,
        latency_ms_p99=None,
        latency_ms_seeds=(12.0, 12.0, 12.1),
        latency_ms_mean=12.5,
        latency_ms_sd=1.0,
        latency_ms_min=11.0,
        patches_per_s=speed,
        cpu_ms_per_patch=2.0,
        joules_per_patch=0.25,
        max_abs_difference=1.5e-7,
    )


def cell_of(engine: EngineName, speeds: dict[int, float], **changes) -> BenchmarkCell:
    measurement = Measurement(
        version="1.2",
        import_ms=900.0,
        load_ms=80.0,
        build_ms=30.5,
        rss_before_mib=200.0,
        peak_rss_mib=640.0,
        gpu_memory_mib=812.5,
        others_cpu_share=0.02,
        energy_source="RAPL package-0",
        repeat_speedup=1.01,
        batches=tuple(batch_of(size, speed) for size, speed in speeds.items()),
        scenarios=(SINGLE_STREAM, SERVER),
    )
    cell = BenchmarkCell(
        case=BenchmarkCase.PATCHES,
        engine=engine,
        device=Device.CPU,
        precision=Precision.F32,
        threads=2,
        verdict=Verdict.VALID,
        reason="",
        not_comparable=(),
        run="tiny",
        seed=2,
        model_digest="ab",
        patch_px=48,
        pool=1024,
        index_digest="cd",
        limit=1e-4,
        host={"name": "node1", "cpu": "Drawn CPU"},
        lamella_version="0",
        measurement=measurement,
    )
    return cell.model_copy(update=changes)


@pytest.fixture
def tracked(monkeypatch):
    """Folders whose records were sent."""
    sent = []
    monkeypatch.setattr(
        "lamella.benchmark.track.send_records", lambda folders, _: (sent.extend(folders), [])
    )
    return sent


@pytest.fixture
def summarise(tmp_path, tracked):
    def run(*cells: BenchmarkCell) -> list[dict[str, str]]:
        paths = [tmp_path / f"{place}.json" for place in range(len(cells))]
        for path, cell in zip(paths, cells, strict=True):
            write_cell(path, cell)
        summarise_benchmark(
            results=paths,
            output=tmp_path / "summary.tsv",
            scenarios=tmp_path / "scenarios.tsv",
            tracking=TrackingSettings(),
        )
        return read_table(tmp_path / "summary.tsv")

    return run


def test_results_and_tables_are_tracked(summarise, tracked, tmp_path):
    summarise(cell_of(EngineName.TORCH, {1: 20.0}), cell_of(EngineName.OPENVINO, {1: 20.0}))
    folder = tmp_path / "summary"
    assert tracked == [tmp_path / "0", tmp_path / "1", folder]
    record = read_record(folder)
    assert (record.kind, record.name) == ("benchmark", "benchmark patches")
    assert {(folder / name).resolve() for name in record.artifacts} == {
        tmp_path / "summary.tsv",
        tmp_path / "scenarios.tsv",
    }


def test_speed_against_torch_is_that_of_the_same_batch_size(summarise):
    rows = summarise(
        cell_of(EngineName.OPENVINO, {1: 30.0, 16: 90.0}),
        cell_of(EngineName.TORCH, {1: 20.0, 16: 40.0}),
    )
    assert tuple(rows[0]) == COLUMNS
    assert [(row["engine"], row["batch_size"], row["speed_against_torch"]) for row in rows] == [
        ("openvino", "1", "1.500"),
        ("openvino", "16", "2.250"),
        ("torch", "1", "1.000"),
        ("torch", "16", "1.000"),
    ]


def test_every_precision_has_its_rows_and_is_compared_with_torch_in_f32(summarise, tmp_path):
    rows = summarise(
        cell_of(EngineName.TORCH, {1: 20.0}),
        cell_of(EngineName.TORCH, {1: 50.0}, precision=Precision.BF16),
        cell_of(EngineName.OPENVINO, {1: 90.0}, precision=Precision.BF16),
    )
    columns = ("engine", "precision", "speed_against_torch")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("torch", "f32", "1.000"),
        ("torch", "bf16", "2.500"),
        ("openvino", "bf16", "4.500"),
    ]
    played = [(row["engine"], row["precision"]) for row in read_table(tmp_path / "scenarios.tsv")]
    assert played == [("torch", "f32")] * 2 + [("torch", "bf16")] * 2 + [("openvino", "bf16")] * 2


def test_without_torch_in_f32_no_ratio_is_given(summarise):
    (row,) = summarise(cell_of(EngineName.TORCH, {1: 50.0}, precision=Precision.BF16))
    assert row["speed_against_torch"] == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 4},
        {"device": Device.CUDA},
        {"host": {"name": "node2", "cpu": "Other CPU"}},
        {"run": "another"},
    ],
)
def test_no_ratio_is_given_between_measurements_that_are_not_alike(summarise, changes):
    rows = summarise(
        cell_of(EngineName.TORCH, {1: 20.0}, **changes), cell_of(EngineName.OPENVINO, {1: 30.0})
    )
    assert rows[1]["speed_against_torch"] == ""


def test_an_unavailable_engine_has_a_row_that_says_why(summarise):
    [row] = summarise(
        cell_of(
            EngineName.OPENVINO,
            {1: 1.0},
            measurement=None,
            verdict=Verdict.UNAVAILABLE,
            reason="its library cannot be imported",
        )
    )
    assert (row["verdict"], row["reason"]) == ("unavailable", "its library cannot be imported")
    assert row["patches_per_s"] == ""


def test_a_part_that_an_engine_failed_at_has_a_row_that_says_why(summarise, tmp_path):
    cell = cell_of(EngineName.OPENVINO, {64: 50.0, 1: 20.0})
    failed = {
        "batch_failures": {8: "no room"},
        "scenario_failures": {Scenario.MULTI_STREAM: "no room"},
    }
    rows = summarise(
        cell.model_copy(update={"measurement": cell.measurement.model_copy(update=failed)})
    )
    assert [(row["batch_size"], row["verdict"], row["reason"]) for row in rows] == [
        ("1", "valid", ""),
        ("8", "unavailable", "no room"),
        ("64", "valid", ""),
    ]
    assert {row["version"] for row in rows} == {"1.2"}
    assert rows[1]["patches_per_s"] == rows[1]["speed_against_torch"] == ""
    row = read_table(tmp_path / "scenarios.tsv")[-1]
    assert (row["scenario"], row["verdict"], row["reason"], row["value"], row["version"]) == (
        *("multi_stream", "unavailable", "no room", "", "1.2"),
    )


def test_what_is_invalid_or_not_comparable_says_so_in_its_row(summarise):
    [row] = summarise(
        cell_of(
            EngineName.ONNXRUNTIME,
            {1: 1.0},
            verdict=Verdict.INVALID,
            reason="differs",
            not_comparable=("5 calls, fewer than 64",),
        )
    )
    assert (row["verdict"], row["reason"]) == ("invalid", "differs")
    assert row["comparable"] == "no: 5 calls, fewer than 64"


def test_a_missing_p90_is_an_empty_cell(summarise):
    [row] = summarise(cell_of(EngineName.TORCH, {8: 100.0}))
    assert row["latency_ms_p90"] == ""
    assert row["others_cpu_share"] == "0.020"
    assert (row["latency_ms_median"], row["max_abs_difference"]) == ("12.000", "1.500e-07")


def test_scenarios_have_a_table_of_their_own(summarise, tmp_path):
    absent = {"measurement": None, "verdict": Verdict.UNAVAILABLE, "reason": "no GPU"}
    summarise(cell_of(EngineName.TORCH, {1: 20.0}), cell_of(EngineName.OPENVINO, {}, **absent))
    rows = read_table(tmp_path / "scenarios.tsv")
    assert tuple(rows[0]) == SCENARIO_COLUMNS
    columns = ("engine", "scenario", "figure", "value", "bound_ms", "queries", "trials", "reason")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("torch", "single_stream", "latency_ms_p90", "", "", "20", "", ""),
        ("torch", "server", "queries_per_s", "41.250", "15", "1986", "2", ""),
        ("openvino", "", "", "", "", "", "", "no GPU"),
    ]
    assert rows[1]["max_abs_difference"] == "2.500e-07"


def test_building_and_memory_of_host_and_gpu_stand_in_the_row_and_are_tracked(summarise):
    cell = cell_of(EngineName.TORCH, {1: 20.0})
    [row] = summarise(cell)
    assert (row["load_ms"], row["build_ms"]) == ("80.000", "30.500")
    assert (row["peak_rss_mib"], row["gpu_memory_mib"]) == ("640.000", "812.500")
    tracked = record_of(cell, artifact="torch.json", started_ms=1).metrics
    figures = {each.key: each.value for each in tracked}
    assert (figures["build_ms"], figures["gpu_memory_mib"]) == (30.5, 812.5)


def test_energy_and_driver_stand_in_the_row(summarise):
    host = {"name": "node1", "cpu": "Drawn CPU", "driver": "580.65.06"}
    first, second = summarise(
        cell_of(EngineName.TORCH, {1: 20.0}), cell_of(EngineName.OPENVINO, {1: 2.0}, host=host)
    )
    assert (first["joules_per_patch"], first["energy_source"]) == ("0.250", "RAPL package-0")
    assert (first["driver"], second["driver"]) == ("", "580.65.06")

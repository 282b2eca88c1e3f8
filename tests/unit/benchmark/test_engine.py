import json
import shutil
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from torch import OutOfMemoryError

from lamella.benchmark.batch_sizes import measure_sizes
from lamella.benchmark.cell import BenchmarkCell, read_cell
from lamella.benchmark.energy import find_meter
from lamella.benchmark.engine import benchmark_engine, sentence
from lamella.benchmark.loading import load_timed
from lamella.benchmark.measure import Pool
from lamella.benchmark.run import measure_engine
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings, Scenario
from lamella.engines.available import engine_status
from lamella.engines.engine import CheckedEngine
from lamella.engines.openvino_engine import OpenVinoEngine
from lamella.engines.parity import check_parity
from lamella.engines.samples import REFERENCE_NAME, read_patches, read_reference
from lamella.engines.settings import (
    USUAL_ENGINES,
    EngineName,
    ParityLimits,
    ParitySettings,
    Precision,
)
from lamella.engines.torch_engine import CompiledTorchEngine
from lamella.engines.verdict import COLUMNS, Verdict
from lamella.errors import EngineUnavailableError, StoreError
from lamella.patches.index import read_index, write_index
from lamella.settings import Device
from lamella.stores.tables import read_table, write_table
from lamella.tracking.record import check_files, read_record
from lamella.tracking.settings import TrackingSettings

MEASURED = (*USUAL_ENGINES, EngineName.TORCHSCRIPT, EngineName.TENSORFLOW)


@pytest.fixture(scope="module")
def parity(results, tmp_path_factory):
    output = tmp_path_factory.mktemp("parity") / "parity.tsv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamella.engines.parity.track", lambda *_: None)
        check_parity(
            export_folder=results.export_folder,
            index=results.index,
            output=output,
            settings=ParitySettings(
                engines=MEASURED,
                precisions=(Precision.F32, Precision.BF16),
                # Random weights make more of a rounding than learned ones.
                limits=ParityLimits(bf16=0.1),
                threads=1,
            ),
            tracking=TrackingSettings(),
        )
    return output


@pytest.fixture
def measure(results, parity, tmp_path, monkeypatch):
    """Measure an engine with quick settings; return the cell, the JSON, and its record."""
    monkeypatch.setattr("lamella.benchmark.run.others_cpu_share", lambda *_: 0.04)
    monkeypatch.setattr("lamella.benchmark.run.measure_repeat", lambda *_, **__: 1.02)

    def run(
        engine=EngineName.ONNXRUNTIME,
        precision=Precision.F32,
        parity=parity,
        index=results.index,
        **settings,
    ):
        output = tmp_path / "benchmark" / "patches" / f"{engine}-{precision}.json"
        quick = {"threads": 1, "batch_sizes": (1, 3), "warmup": 2, "iterations": 5}
        benchmark_engine(
            case=BenchmarkCase.PATCHES,
            engine=engine,
            precision=precision,
            export_folder=results.export_folder,
            index=index,
            parity=parity,
            output=output,
            settings=BenchmarkSettings(**{**quick, **settings}),
        )
        record = read_record(output.with_suffix(""))
        return read_cell(output, BenchmarkCell), json.loads(output.read_text()), record

    return run


@pytest.mark.parametrize("engine", MEASURED)
def test_every_engine_is_measured_and_its_timed_answers_are_right(measure, engine):
    cell, _, _ = measure(engine)
    assert (cell.verdict, cell.reason) == (Verdict.VALID, "")
    assert cell.measurement is not None
    assert [batch.batch_size for batch in cell.measurement.batches] == [1, 3]
    for batch in cell.measurement.batches:
        assert batch.max_abs_difference < 1e-5
        assert 0 < batch.latency_ms_min <= batch.latency_ms_median
        assert batch.latency_ms_p90 is None
    assert cell.measurement.gpu_memory_mib is None
    assert cell.measurement.peak_rss_mib >= cell.measurement.rss_before_mib > 10


def test_loading_is_timed_without_the_building(monkeypatch):
    clock = SimpleNamespace(now_s=0.0)

    def load():
        clock.now_s += 1.5
        return SimpleNamespace(build_ms=1000.0)

    looked_at = SimpleNamespace(perf_counter=lambda: clock.now_s)
    monkeypatch.setattr("lamella.benchmark.loading.time", looked_at)
    loaded = load_timed(EngineName.ONNXRUNTIME, Device.CPU, load)
    assert (loaded.import_ms, loaded.load_ms, loaded.build_ms) == (0.0, 500.0, 1000.0)


def test_building_is_timed(measure, monkeypatch):
    build = CheckedEngine._building

    @contextmanager
    def slowly(engine):
        with build(engine):
            yield
            time.sleep(1)

    monkeypatch.setattr(CheckedEngine, "_building", slowly)
    measured = measure(EngineName.OPENVINO)[0].measurement
    assert measured.build_ms > 1000
    assert measured.load_ms > 0


def where_it_has_bf16(engine):
    lacks = Precision.BF16 not in engine_status(engine, Device.CPU).precisions
    reason = f"{engine} does not compute in bf16 on this CPU"
    return pytest.param(engine, marks=pytest.mark.skipif(lacks, reason=reason))


@pytest.mark.parametrize(
    "engine", [where_it_has_bf16(each) for each in (EngineName.OPENVINO, EngineName.TORCHSCRIPT)]
)
def test_a_precision_is_measured_and_held_against_its_own_limit(measure, engine):
    cell, stored, record = measure(engine, Precision.BF16, batch_sizes=(3,))
    assert (cell.verdict, cell.reason) == (Verdict.VALID, "")
    assert (stored["precision"], stored["limit"]) == ("bf16", 0.1)
    assert (record.name, record.params["precision"]) == (f"patches {engine} bf16", "bf16")
    # Beyond the limit of f32: it was computed in bf16.
    assert 1e-4 < cell.measurement.batches[0].max_abs_difference < 0.1
    assert f"patches on {engine} in bf16: valid" in sentence(cell)


def test_a_precision_that_the_engine_has_not_is_recorded_with_its_reason(measure):
    cell, _, _ = measure(EngineName.ONNXRUNTIME, Precision.BF16)
    assert (cell.verdict, cell.measurement) == (Verdict.UNAVAILABLE, None)
    assert cell.reason == "ONNX Runtime computes in f32 alone by CPUExecutionProvider"


def test_a_precision_that_was_not_compared_is_refused(measure):
    with pytest.raises(StoreError, match=r"openvino in f16 was not compared.*parity.precisions"):
        measure(EngineName.OPENVINO, Precision.F16)


def test_a_quick_look_says_so_in_its_own_words(measure):
    cell, stored, _ = measure()
    assert stored["comparable"] is False
    assert stored["not_comparable"] == [
        "5 calls, fewer than 64",
        "37 patches in memory, fewer than 1024",
    ]
    assert sentence(cell).endswith("not comparable")


def test_a_busy_machine_makes_a_measurement_not_comparable(measure, monkeypatch):
    monkeypatch.setattr("lamella.benchmark.run.others_cpu_share", lambda *_: 0.234)
    _, stored, record = measure()
    assert stored["measurement"]["others_cpu_share"] == 0.234
    assert stored["not_comparable"][-1] == "other processes took 23 % of the CPUs, more than 10 %"
    assert "others_cpu_share" in {metric.key for metric in record.metrics}


@pytest.mark.parametrize("sizes", [(0,), (4, -1)])
def test_a_batch_without_patches_is_refused(sizes):
    with pytest.raises(ValueError, match="a batch holds at least 1 patch"):
        BenchmarkSettings(batch_sizes=sizes)


def test_p90_comes_with_the_64th_call(measure):
    cell, stored, _ = measure(iterations=64, batch_sizes=(1,))
    assert cell.measurement.batches[0].latency_ms_p90 is not None
    assert stored["not_comparable"] == ["37 patches in memory, fewer than 1024"]


def test_the_result_says_what_was_measured_on_which_machine(measure):
    _, stored, _ = measure()
    assert (stored["case"], stored["engine"], stored["run"]) == ("patches", "onnxruntime", "tiny")
    assert (stored["threads"], stored["patch_px"], stored["pool"]) == (1, 48, 37)
    assert stored["host"]["cpu"]
    assert stored["measurement"]["version"]
    assert len(stored["model_digest"]) == 64


def test_an_unavailable_engine_is_recorded_with_its_reason(measure):
    cell, stored, record = measure(EngineName.OPENVINO, device=Device.CUDA)
    assert (cell.verdict, cell.measurement) == (Verdict.UNAVAILABLE, None)
    assert stored["reason"] == "OpenVINO does not run on NVIDIA GPUs"
    assert record.params["verdict"] == "unavailable"


@pytest.fixture
def limit_openvino(monkeypatch):
    """Have OpenVINO fail at batches that are not among the given sizes."""
    right = OpenVinoEngine._run

    def limit(*sizes):
        def limited(self, inputs):
            if len(inputs[0]) not in sizes:
                raise RuntimeError("no room")
            return right(self, inputs)

        monkeypatch.setattr(OpenVinoEngine, "_run", limited)

    return limit


def test_an_engine_that_fails_at_every_batch_size_is_recorded_with_its_reason(
    measure, limit_openvino
):
    limit_openvino()
    cell, _, _ = measure(EngineName.OPENVINO)
    assert (cell.verdict, cell.measurement) == (Verdict.UNAVAILABLE, None)
    assert cell.reason == "it failed while it computed 1 at once (no room)"


def test_a_batch_size_that_an_engine_fails_at_does_not_take_the_others_with_it(
    measure, limit_openvino
):
    limit_openvino(1, 4)
    cell, stored, record = measure(
        EngineName.OPENVINO, batch_sizes=(1, 3, 4), scenarios=tuple(Scenario), tail_queries=20
    )
    assert (cell.verdict, cell.reason) == (Verdict.VALID, "")
    assert [batch.batch_size for batch in cell.measurement.batches] == [1, 4]
    reasons = {n: f"it failed while it computed {n} at once (no room)" for n in (3, 8)}
    assert cell.measurement.batch_failures == reasons
    assert stored["measurement"]["batch_failures"]["3"] == reasons[3]
    scenarios = [result.scenario for result in cell.measurement.scenarios]
    assert scenarios == [Scenario.SINGLE_STREAM, Scenario.OFFLINE, Scenario.SERVER]
    assert cell.measurement.scenario_failures == {Scenario.MULTI_STREAM: reasons[8]}
    assert f"unavailable at batch 3 ({reasons[3]})" in sentence(cell)
    assert record.params["batch_3"] == f"unavailable: {reasons[3]}"
    assert record.params["multi_stream"] == f"unavailable: {reasons[8]}"
    metrics = {metric.key for metric in record.metrics}
    assert "batch_4/patches_per_s" in metrics
    assert not [key for key in metrics if key.startswith(("batch_3", "multi_stream"))]


@pytest.fixture
def measure_whole(results, parity):
    """Measure an engine, nothing of which is replaced; return the measurement."""
    reference = read_reference(parity.with_name(REFERENCE_NAME))
    patches = read_patches(reference.table, read_index(results.index))

    def run(engine, *batch_sizes):
        return measure_engine(
            engine,
            Precision.F32,
            results.export_folder,
            Pool(patches, reference.probabilities),
            BenchmarkSettings(threads=1, batch_sizes=batch_sizes, warmup=2, iterations=5),
        )

    return run


def test_an_engine_that_fails_for_good_at_a_batch_size_keeps_what_was_measured_before(
    measure_whole, monkeypatch
):
    right, failed = OpenVinoEngine._run, []

    def limited(self, inputs):
        if failed or len(inputs[0]) == 3:
            failed.append(len(inputs[0]))
            raise RuntimeError("the device is lost")
        return right(self, inputs)

    monkeypatch.setattr(OpenVinoEngine, "_run", limited)
    measured = measure_whole(EngineName.OPENVINO, 1, 3, 4)
    assert [batch.batch_size for batch in measured.batches] == [1]
    assert set(measured.batch_failures) == {3, 4}
    assert measured.repeat_speedup > 0


def test_what_does_not_fit_is_found_at_its_call_not_when_the_others_are_compiled(
    measure_whole, monkeypatch
):
    right = CompiledTorchEngine._run

    def limited(self, inputs):
        if len(inputs[0]) > 1:
            raise OutOfMemoryError("no room")
        return right(self, inputs)

    monkeypatch.setattr(CompiledTorchEngine, "_run", limited)
    measured = measure_whole(EngineName.TORCH_COMPILED, 1, 3)
    assert [batch.batch_size for batch in measured.batches] == [1]
    assert set(measured.batch_failures) == {3}


def test_a_batch_that_failed_does_not_stay_in_memory():
    kept = []

    def measure(batch_size):
        if batch_size == 8:
            batch = np.zeros(8)
            kept.append(weakref.ref(batch))
            raise EngineUnavailableError("no room", "torch", "Choose a smaller batch")
        assert kept[0]() is None
        return batch_size

    assert measure_sizes((8, 1), measure) == ((1,), {8: "no room"})


def test_scenarios_of_single_patches_need_them(measure, limit_openvino):
    limit_openvino(3)
    cell, _, _ = measure(EngineName.OPENVINO, scenarios=tuple(Scenario), tail_queries=20)
    assert [result.scenario for result in cell.measurement.scenarios] == [Scenario.OFFLINE]
    assert set(cell.measurement.scenario_failures) == set(Scenario) - {Scenario.OFFLINE}


def test_a_server_that_fails_under_load_leaves_the_other_scenarios(measure, monkeypatch):
    def fail(*_):
        raise EngineUnavailableError("it failed", "openvino", "Choose another engine")

    monkeypatch.setattr("lamella.benchmark.run.measure_server", fail)
    cell, _, _ = measure(EngineName.OPENVINO, scenarios=tuple(Scenario), tail_queries=20)
    assert cell.measurement.scenario_failures == {Scenario.SERVER: "it failed"}
    assert len(cell.measurement.scenarios) == 3


def test_the_measurement_is_tracked_with_the_file(measure, tmp_path):
    _, _, record = measure()
    assert (record.kind, record.name) == ("benchmark", "patches onnxruntime f32")
    assert "batch_3/patches_per_s" in {metric.key for metric in record.metrics}
    check_files(record, tmp_path / "benchmark" / "patches" / "onnxruntime-f32")


def test_answers_that_the_comparison_found_wrong_stay_invalid(measure, parity, tmp_path):
    folder = shutil.copytree(parity.parent, tmp_path / "parity")
    table = folder / "parity.tsv"
    rows = read_table(table)
    (row,) = [row for row in rows if (row["engine"], row["precision"]) == ("onnxruntime", "f32")]
    row |= {"verdict": "invalid", "reason": "differs by 0.5, limit 0.0001"}
    write_table(table, COLUMNS, rows)
    cell, _, _ = measure(parity=table)
    assert (cell.verdict, cell.reason) == (Verdict.INVALID, "differs by 0.5, limit 0.0001")
    assert cell.measurement is not None


def test_all_scenarios_stand_beside_the_batch_sizes(measure):
    cell, stored, record = measure(
        scenarios=tuple(Scenario), iterations=64, tail_queries=662, server_bound_ms=1e6
    )
    batches = {batch.batch_size: batch for batch in cell.measurement.batches}
    assert {size: batch.iterations for size, batch in batches.items()} == {1: 64, 3: 64, 8: 662}
    results = {result.scenario: result for result in cell.measurement.scenarios}
    assert list(results) == list(Scenario)
    assert results[Scenario.SINGLE_STREAM].value == batches[1].latency_ms_p90
    assert results[Scenario.MULTI_STREAM].value == batches[8].latency_ms_p99
    fastest = max(batches[1].patches_per_s, batches[3].patches_per_s)
    assert results[Scenario.OFFLINE].value == fastest
    server = results[Scenario.SERVER]
    # Nothing can be late.
    assert [(trial.kept, trial.late) for trial in server.trials] == [(True, (0, 0, 0))] * 5
    assert server.queries == 3 * 662
    assert server.value == max(trial.queries_per_s for trial in server.trials)
    assert server.max_abs_difference < 1e-5
    assert stored["not_comparable"] == [
        "37 patches in memory, fewer than 1024",
        "queries of the server come within less than 10 times its bound",
    ]
    metrics = {metric.key: metric.value for metric in record.metrics}
    assert metrics["server/queries_per_s"] == server.value
    assert metrics["multi_stream/latency_ms_p99"] == batches[8].latency_ms_p99


def test_without_enough_queries_no_quantile_is_given_and_the_file_says_so(measure):
    _, stored, _ = measure(scenarios=tuple(Scenario), tail_queries=20)
    values = {each["scenario"]: each["value"] for each in stored["measurement"]["scenarios"]}
    assert values.pop("offline") > 0
    assert values == {"single_stream": None, "multi_stream": None, "server": None}
    assert "20 queries for a p99, fewer than 662" in stored["not_comparable"]


def test_energy_that_no_counter_tells_is_absent_with_the_reason(measure, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lamella.benchmark.run.find_meter", lambda device: find_meter(device, empty)
    )
    empty = tmp_path / "powercap"
    _, stored, _ = measure()
    assert {each["joules_per_patch"] for each in stored["measurement"]["batches"]} == {None}
    reason = f"none: {empty} has no counter of a CPU package"
    assert stored["measurement"]["energy_source"] == reason


def test_reference_answers_about_other_patches_are_refused(measure, results, tmp_path):
    folder = shutil.copytree(results.index.parent, tmp_path / "patches")
    write_index(folder / "index.parquet", replace(read_index(results.index), digest="e2" * 32))
    with pytest.raises(StoreError, match="other patches or another model"):
        measure(index=folder / "index.parquet")


def test_a_result_with_nan_is_read_as_it_was_written(measure, tmp_path):
    from lamella.benchmark.cell import write_cell

    cell, _, _ = measure(batch_sizes=(1,), iterations=1)
    batch = cell.measurement.batches[0].model_copy(update={"max_abs_difference": float("nan")})
    measurement = cell.measurement.model_copy(update={"batches": (batch,)})
    write_cell(tmp_path / "nan.json", cell.model_copy(update={"measurement": measurement}))
    found = read_cell(tmp_path / "nan.json", BenchmarkCell).measurement.batches[0]
    assert found.max_abs_difference != found.max_abs_difference


@pytest.mark.parametrize("content", ["", "{}", '{"comparable": true}'])
def test_a_file_of_another_layout_is_refused(tmp_path, content):
    (tmp_path / "torch.json").write_text(content)
    with pytest.raises(StoreError, match=r"torch.json: the benchmark result cannot be read"):
        read_cell(tmp_path / "torch.json", BenchmarkCell)

"""Whole workloads on real engines."""

import itertools
import json
import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from lamella.benchmark.cell import read_cell
from lamella.benchmark.energy import Counters, EnergyMeter
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.engines.load import load_foreign_engine
from lamella.engines.openvino_engine import OpenVinoEngine
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.errors import SlideUnreadableError, StoreError
from lamella.export.description import ModelFormat, ModelInterface, TensorDescription
from lamella.settings import Device
from lamella.tracking.record import check_files, read_record
from lamella.workloads.cell import (
    Mode,
    WorkloadCell,
    WorkloadMeasurement,
    WorkloadRuns,
)
from lamella.workloads.export import export_workload
from lamella.workloads.exported import ExportedNetwork, read_answers
from lamella.workloads.extrapolate import whole_runs
from lamella.workloads.inputs import open_input, prepare_workload
from lamella.workloads.judge import broken_rules, judge_workload
from lamella.workloads.labels import NOT_ASKED
from lamella.workloads.measure import result_difference
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.sizes import SIZES, Sizes
from lamella.workloads.slide import WholeSlide
from lamella.workloads.stages import Stage, StageClock, stage_times
from lamella.workloads.time import sentence, time_workload
from lamella.workloads.track import record_of
from lamella.workloads.workload import open_workload

TINY = Sizes(
    frames=3,
    frame_px=64,
    volume_zyx=(20, 40, 50),
    patch_zyx=(16, 16, 32),
    slide_px=(2000, 1500),
    patch_px=128,
)
SETTINGS = WorkloadSettings(iterations=2, batch_sizes=(1, 5))
CASES = (BenchmarkCase.ULTRASOUND, BenchmarkCase.CT, BenchmarkCase.WSI)
ENGINES = (EngineName.ONNXRUNTIME, EngineName.OPENVINO)


@pytest.fixture(scope="module", params=CASES)
def folder(request, tmp_path_factory):
    """A workload of a few seconds: its input and its network."""
    case, made = request.param, tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, SETTINGS.size, TINY)
        prepare_workload(case=case, output=made / "input.json", settings=SETTINGS)
        export_workload(
            case=case,
            prepared=made / "input.json",
            output=made / "network.json",
            engines=ENGINES,
            opset=18,
            settings=SETTINGS,
        )
    return made


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SIZES, SETTINGS.size, TINY)


def timed(folder, engine, output, **changes):
    asked = {"limit": 1e-4, "benchmark": BenchmarkSettings(threads=1), "settings": SETTINGS}
    time_workload(
        engine=engine,
        precision=Precision.F32,
        folder=folder,
        output=output,
        **{**asked, **changes},
    )
    return read_cell(output, WorkloadCell)


@pytest.mark.parametrize("engine", ENGINES)
def test_workload_is_timed_from_input_to_result(folder, engine, tmp_path, tiny):
    cell = timed(folder, engine, tmp_path / "cell.json")
    assert (cell.verdict, cell.reason) == (Verdict.VALID, "")
    record = read_record(tmp_path / "cell")
    check_files(record, tmp_path / "cell")
    assert record.artifacts == ["../cell.json", "../cell.csv"]
    built = "build_ms" in {metric.key for metric in record.metrics}
    assert built is (engine is EngineName.OPENVINO)
    assert "smaller than in the paper" in cell.not_comparable
    assert "2 runs, fewer than 10" in cell.not_comparable
    measured = cell.measurement
    assert 0 < measured.max_abs_difference < 1e-4 or engine is EngineName.ONNXRUNTIME
    for kind in measured.kinds:
        assert len(kind.runs) == SETTINGS.iterations
        for run in kind.runs:
            tissue = run.stages.get(Stage.TISSUE)
            # Of a clip and a volume nothing happens once.
            started = run.start_ms == 0 if tissue is None else run.start_ms > tissue.total_ms
            assert started
            assert run.start_ms < run.total_ms
            assert run.stages[Stage.NN_INFERENCE].calls == -(-cell.items // kind.batch_size)
            if kind.mode is Mode.SEQUENTIAL:
                stages_ms = sum(stage.total_ms for stage in run.stages.values())
                assert 0.5 * run.total_ms < stages_ms < run.total_ms
    _, *rows = (tmp_path / "cell.csv").read_text().splitlines()
    assert len(rows) == 2 * len([kind for kind in measured.kinds if kind.mode is Mode.SEQUENTIAL])
    row_of = rf"{engine}( batch 5)? small;CPU;[12](;\d+\.\d{{6}})+"
    assert all(re.fullmatch(row_of, row) for row in rows)


def test_energy_is_that_of_each_run(folder, tmp_path, tiny, monkeypatch):
    readings = itertools.count(0, 5_000_000)
    counters = Counters("a counter", {"": 2**63}, lambda: {"": next(readings)}, shortest_s=0.0)
    meter = EnergyMeter(counters)
    monkeypatch.setattr("lamella.workloads.measure.find_meter", lambda _: (meter, "a counter"))
    measured = timed(folder, EngineName.ONNXRUNTIME, tmp_path / "cell.json").measurement
    assert measured.energy_source == "a counter"
    # It is read at the start and at the end of a run, and counts 5 J between two readings.
    assert {run.joules for kind in measured.kinds for run in kind.runs} == {5.0}
    # Shorter than the counter's steps, and longer than one of its rounds may be.
    for limits in ({"shortest_s": 3600.0}, {"shortest_s": 0.0, "longest_s": 0.0}):
        vars(meter).update(limits)
        measured = timed(folder, EngineName.ONNXRUNTIME, tmp_path / "cell.json").measurement
        assert {run.joules for kind in measured.kinds for run in kind.runs} == {None}


def test_a_batch_size_that_the_engine_fails_at_does_not_take_the_others_with_it(
    folder, tmp_path, tiny, monkeypatch
):
    if ExportedNetwork.read(folder / "network.json").case is not BenchmarkCase.WSI:
        pytest.skip("only slides have several batch sizes")
    right, calls = OpenVinoEngine._run, itertools.count()
    examples = -(-len(read_answers(folder / "reference.npz")[0]) // 5)

    def limited(self, inputs):
        answers = right(self, inputs)
        number = next(calls) if len(inputs[0]) == 5 else -1
        # Examples are right, but a run is not, and nothing may be held against it: the next fails.
        if number >= examples + items // 5:
            raise RuntimeError("no room")
        return tuple(1 - each for each in answers) if number >= examples else answers

    items = WholeSlide(open_input(folder / "input.json"), TINY.patch_px, readers=1).items
    monkeypatch.setattr(OpenVinoEngine, "_run", limited)
    sizes = WorkloadSettings(iterations=2, batch_sizes=(5, 1))
    cell = timed(folder, EngineName.OPENVINO, tmp_path / "cell.json", settings=sizes)
    assert (cell.verdict, cell.reason) == (Verdict.VALID, "")
    reason = "it failed while it computed 5 at once (no room)"
    assert cell.measurement.batch_failures == {5: reason}
    kinds = [(kind.mode, kind.batch_size, len(kind.runs)) for kind in cell.measurement.kinds]
    assert kinds == [(Mode.SEQUENTIAL, 1, 2), (Mode.OVERLAPPED, 1, 2)]
    assert f"unavailable at batch 5 ({reason})" in sentence(cell)
    assert len((tmp_path / "cell.csv").read_text().splitlines()) == 1 + 2
    record = record_of(cell, artifacts=[], started_ms=0)
    assert record.params["batch_5"] == f"unavailable: {reason}"


def test_engine_whose_format_could_not_be_written_says_why(tmp_path, tiny):
    (tmp_path / "onnx2tf.txt").touch()
    prepare_workload(case=BenchmarkCase.WSI, output=tmp_path / "input.json", settings=SETTINGS)
    export_workload(
        case=BenchmarkCase.WSI,
        prepared=tmp_path / "input.json",
        output=tmp_path / "network.json",
        engines=[EngineName.TENSORFLOW],
        opset=18,
        settings=SETTINGS,
        onnx2tf=[tmp_path / "onnx2tf.txt"],
    )
    cell = timed(tmp_path, EngineName.TENSORFLOW, tmp_path / "tensorflow.json")
    assert (cell.verdict, cell.measurement) == (Verdict.UNAVAILABLE, None)
    assert "onnx2tf's environment could not be made" in cell.reason
    with pytest.raises(StoreError, match=r"not exported in this format.*benchmark\.engines"):
        timed(tmp_path, EngineName.TORCHSCRIPT, tmp_path / "torchscript.json")


def test_engine_that_is_not_available_says_why_and_the_run_goes_on(folder, tmp_path, tiny):
    cell = timed(
        folder,
        EngineName.OPENVINO,
        tmp_path / "cell.json",
        benchmark=BenchmarkSettings(device=Device.CUDA),
    )
    assert (cell.verdict, cell.measurement) == (Verdict.UNAVAILABLE, None)
    assert cell.reason == "OpenVINO does not run on NVIDIA GPUs"
    assert len((tmp_path / "cell.csv").read_text().splitlines()) == 1


def test_answers_beyond_the_limit_are_invalid_and_stay(folder, tmp_path, tiny):
    cell = timed(folder, EngineName.OPENVINO, tmp_path / "cell.json", limit=1e-12)
    assert cell.verdict is Verdict.INVALID
    assert cell.reason.endswith("limit 1e-12")
    assert cell.measurement.kinds[0].runs


def test_a_network_that_was_checked_is_not_checked_again_in_its_loading_time(
    folder, tmp_path, tiny, monkeypatch
):
    def checked(path):
        raise StoreError("it is checked again", str(path), "Leave it")

    monkeypatch.setattr("lamella.engines.load._check_file", checked)
    assert timed(folder, EngineName.OPENVINO, tmp_path / "cell.json").verdict is Verdict.VALID


def test_network_that_was_damaged_is_refused(folder, tmp_path, tiny):
    network = ExportedNetwork.read(folder / "network.json")
    path = folder / "onnx" / "model.onnx"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    try:
        with pytest.raises(StoreError, match="damaged or another one"):
            network.open(folder, ModelFormat.ONNX)
    finally:
        path.write_bytes(sound)
    assert network.open(folder, ModelFormat.ONNX) == path


def test_overlapped_heatmap_is_the_sequential_one_for_any_batch(folder, tmp_path, tiny):
    network = ExportedNetwork.read(folder / "network.json")
    if network.case is not BenchmarkCase.WSI:
        pytest.skip("only slides are read while the engine computes")
    slide = WholeSlide(open_input(folder / "input.json"), TINY.patch_px, readers=3)
    engine = load_foreign_engine(
        EngineName.OPENVINO,
        network.open(folder, ModelFormat.OPENVINO),
        interface=network.interface,
        threads=1,
    )
    expected = slide.run(engine, StageClock(), batch_size=1)
    asked = ~np.isnan(expected)
    assert asked.any(axis=2).sum() == slide.items > 10
    for batch_size in (1, 4, 1000):
        with slide.overlapped(batch_size) as run:
            found = run(engine, StageClock(), batch_size=batch_size)
        assert result_difference(found, expected) < 1e-5
    examples, answers = read_answers(folder / "reference.npz")
    np.testing.assert_allclose(engine.infer(examples), answers, atol=1e-4)
    first = np.argwhere(asked.any(axis=2))[0]
    np.testing.assert_allclose(expected[tuple(first)], answers[0], atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_run_of_the_first_items_is_extrapolated_and_says_so(folder, engine, tmp_path, tiny):
    few = WorkloadSettings(iterations=2, batch_sizes=(1, 2), run_items=2)
    cell = timed(folder, engine, tmp_path / "cell.json", settings=few)
    assert (cell.verdict, cell.reason) == (Verdict.VALID, "")
    assert cell.run_items == 2 < cell.items
    assert f"extrapolated from 2 of {cell.items} frames or patches" in cell.not_comparable
    for kind in cell.measurement.kinds:
        for run in kind.runs:
            assert run.stages[Stage.NN_INFERENCE].calls == 2 // kind.batch_size
    assert " extrapolated small;CPU;" in (tmp_path / "cell.csv").read_text()
    assert ": valid, extrapolated " in sentence(cell)
    record = record_of(cell, artifacts=[], started_ms=0)
    totals = [metric.key for metric in record.metrics if "total_ms" in metric.key]
    assert totals == [
        f"{kind.mode}_batch_{kind.batch_size}/total_ms_extrapolated" for kind in whole_runs(cell)
    ]


def test_items_of_a_run_fill_every_batch():
    with pytest.raises(ValueError, match="not a multiple of every one of batch_sizes"):
        WorkloadSettings(batch_sizes=(1, 16), run_items=24)


def test_slide_with_less_than_two_patches_of_tissue_is_refused(tmp_path):
    path = tmp_path / "glass.png"
    glass = Image.new("RGB", (700, 500), (240, 240, 240))
    for n in (0, 1):
        glass.save(path)
        with pytest.raises(StoreError, match=f"{n} patches of the slide show tissue"):
            WholeSlide(path, 128, readers=1)
        glass.paste((180, 40, 120), (128, 128, 256, 256))


def test_where_the_engine_fails_the_next_run_is_whole(tmp_path):
    path = tmp_path / "slide.png"
    Image.new("RGB", (1200, 900), (180, 40, 120)).save(path)
    slide, sound = WholeSlide(path, 64, readers=2), Counting(Device.CPU)
    expected = slide.run(sound, StageClock(), batch_size=4)
    with slide.overlapped(4) as run:
        with pytest.raises(RuntimeError, match="out of memory"):
            run(Broken(), StageClock(), batch_size=4)
        assert result_difference(run(sound, StageClock(), batch_size=4), expected) == 0


def test_where_the_overview_cannot_be_read_nobody_waits_for_it(tmp_path):
    path = tmp_path / "slide.tiff"
    draw_slide(path, SlideSpec(width_um=400.0, height_um=300.0))
    slide = WholeSlide(path, 64, readers=3)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for level in tiff.series[0].levels:
            page = level.pages[0]
            for offset, n in zip(page.dataoffsets, page.databytecounts, strict=True):
                tiff.filehandle.seek(offset + n // 2)
                tiff.filehandle.write(bytes(n - n // 2))
    with slide.overlapped(4) as run, pytest.raises(SlideUnreadableError, match="cannot be decoded"):
        run(Counting(Device.CPU), StageClock(), batch_size=4)


def test_every_batch_of_a_slide_is_full_on_a_gpu_and_the_heatmap_the_same(tmp_path):
    path = tmp_path / "slide.png"
    Image.new("RGB", (1200, 900), (180, 40, 120)).save(path)
    slide, heatmaps = WholeSlide(path, 64, readers=2), []
    for device in (Device.CPU, Device.CUDA):
        counting = Counting(device)
        with slide.overlapped(32) as overlapped:
            for run in (slide.run, overlapped):
                heatmaps.append(run(counting, StageClock(), batch_size=32))
        assert slide.items % 32
        last = slide.items % 32 if device is Device.CPU else 32
        assert counting.lengths == [*[32] * (slide.items // 32), last] * 2
    assert all(result_difference(heatmap, heatmaps[0]) == 0 for heatmap in heatmaps)


class Counting:
    """An engine that answers with the first numbers of a patch, and notes how many it is given."""

    interface = ModelInterface(
        inputs=(), outputs=(TensorDescription(name="p", dtype="float32", shape=(-1, 4), layout=""),)
    )

    def __init__(self, device):
        self.device, self.lengths = device, []

    def infer(self, patches):
        self.lengths.append(len(patches))
        return patches.reshape(len(patches), -1)[:, :4].astype(np.float32)


class Broken:
    """An engine that fails at its second call."""

    device = Device.CPU
    interface = ModelInterface(
        inputs=(), outputs=(TensorDescription(name="p", dtype="float32", shape=(-1, 4), layout=""),)
    )

    def __init__(self):
        self.calls = 0

    def infer(self, patches):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("out of memory")
        return np.zeros((len(patches), 4), dtype=np.float32)


def measured(**changes):
    """A measurement that is right, but for what is changed."""
    kind = WorkloadRuns(
        mode=Mode.SEQUENTIAL,
        batch_size=1,
        runs=(),
        of_labels=True,
        unanswered=0,
        reference_difference=0.0,
        result_difference=0.0,
    )
    right = {
        **dict.fromkeys(("import_ms", "load_ms", "first_call_ms", "peak_rss_mib"), 1.0),
        "build_ms": None,
        "version": "1",
        "others_cpu_share": 0.0,
        "energy_source": "none",
        "max_abs_difference": 1e-6,
        "label_agreement": 1.0,
        "compared_answers": 400,
        "kinds": (kind.model_copy(update=changes.pop("kind", {})),),
    }
    return WorkloadMeasurement(**{**right, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"max_abs_difference": 2e-4}, "differs by 0.0002, limit 0.0001"),
        ({"max_abs_difference": float("nan")}, "answers that are not finite, to examples"),
        (
            {"label_agreement": 0.98},
            "98.00 % of its classes are the network's, fewer than 99 %",
        ),
        ({"label_agreement": 15 / 16, "compared_answers": 16}, ""),
        ({"label_agreement": 9 / 10, "compared_answers": 10}, ""),
        (
            {"label_agreement": 8 / 9, "compared_answers": 9},
            "88.89 % of its classes are the network's, fewer than 99 %",
        ),
        (
            {"label_agreement": 14 / 16, "compared_answers": 16},
            "87.50 % of its classes are the network's, fewer than 93.75 %",
        ),
        ({"kind": {"unanswered": 1}}, "answers that are not finite, in sequential runs at batch 1"),
        ({"kind": {"reference_difference": 0.005}}, ""),
        (
            {"kind": {"reference_difference": 0.02}},
            "sequential runs at batch 1 differ by 0.02 from the network, limit 0.01",
        ),
        (
            {"kind": {"of_labels": False, "reference_difference": 0.005}},
            "sequential runs at batch 1 differ by 0.005 from the network, limit 0.0001",
        ),
        ({"kind": {"result_difference": 0.005}}, ""),
        (
            {"kind": {"result_difference": 0.02}},
            "results of two runs differ by 0.02, limit 0.01",
        ),
        (
            {"kind": {"of_labels": False, "result_difference": 0.005}},
            "results of two runs differ by 0.005, limit 0.0001",
        ),
    ],
)
def test_verdict_is_about_probabilities_classes_and_the_results_of_all_runs(changes, reason):
    expected = Verdict.INVALID if reason else Verdict.VALID
    assert judge_workload(measured(**changes), 1e-4) == (expected, reason)


@pytest.mark.parametrize(
    ("settings", "changes", "rules"),
    [
        ({"size": "paper"}, {}, ()),
        ({}, {}, ("smaller than in the paper",)),
        ({"size": "paper", "iterations": 9}, {}, ("9 runs, fewer than 10",)),
        (
            {"size": "paper", "run_items": 2, "batch_sizes": [1]},
            {},
            ("extrapolated from 2 of 3 frames or patches",),
        ),
        (
            {"size": "paper"},
            {"others_cpu_share": 0.11},
            ("other processes took 11 % of the CPUs, more than 10 %",),
        ),
    ],
)
def test_rules_that_are_broken_are_named(settings, changes, rules, tmp_path):
    frames = tmp_path / "frames.npy"
    np.save(frames, np.zeros((3, 64, 64), dtype=np.uint8))
    asked = WorkloadSettings(**settings)
    clip = open_workload(BenchmarkCase.ULTRASOUND, frames, asked)
    assert broken_rules(asked, measured(**changes), clip) == rules


def test_slide_that_is_smaller_than_the_paper_s_breaks_a_rule(tmp_path):
    path = tmp_path / "slide.png"
    Image.new("RGB", (1200, 900), (180, 40, 120)).save(path)
    slide = WholeSlide(path, 64, readers=1)
    rules = broken_rules(WorkloadSettings(size="paper"), measured(), slide)
    assert rules == ("smaller than in the paper",)


def test_difference_of_results_counts_labels_and_measures_probabilities():
    labels = np.array([[0, 1], [2, 2]], dtype=np.uint8)
    assert result_difference(labels, np.array([[0, 1], [2, 1]], dtype=np.uint8)) == 0.25
    partly = np.array([[0, 1], [NOT_ASKED, NOT_ASKED]], dtype=np.uint8)
    assert result_difference(np.array([[0, 0], [NOT_ASKED] * 2], dtype=np.uint8), partly) == 0.5
    nan = float("nan")
    one = np.array([nan, 0.5, 0.25], dtype=np.float32)
    assert result_difference(one, np.array([nan, 0.25, 0.25], dtype=np.float32)) == 0.25
    assert result_difference(one, np.array([0.0, 0.5, 0.25], dtype=np.float32)) == float("inf")
    assert result_difference(one, one) == 0.0


def test_stage_has_the_mean_and_the_deviation_of_all_its_calls():
    times = stage_times([1.0, 2.0, 6.0])
    assert (times.calls, times.mean_ms, times.total_ms) == (3, 3.0, 9.0)
    assert times.sd_ms == pytest.approx((14 / 3) ** 0.5)
    assert json.loads(times.model_dump_json())["calls"] == 3

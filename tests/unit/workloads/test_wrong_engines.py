"""Engines that are wrong in one way or another are told from those that are right."""

import numpy as np
import pytest

from lamella.benchmark.cell import read_cell
from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.engines.engine import CheckedEngine
from lamella.engines.settings import EngineName, Precision
from lamella.engines.verdict import Verdict
from lamella.workloads import measure
from lamella.workloads.cell import WorkloadCell
from lamella.workloads.export import export_workload
from lamella.workloads.inputs import open_input, prepare_workload
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.sizes import SIZES, Sizes
from lamella.workloads.time import time_workload

TINY = Sizes(
    frames=3,
    frame_px=32,
    volume_zyx=(20, 40, 50),
    patch_zyx=(16, 16, 32),
    slide_px=(1000, 750),
    patch_px=128,
)
SETTINGS = WorkloadSettings(iterations=1, batch_sizes=(5,))
CASES = (BenchmarkCase.ULTRASOUND, BenchmarkCase.CT, BenchmarkCase.WSI)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SIZES, SETTINGS.size, TINY)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every workload: its input and its network."""
    made = {case: tmp_path_factory.mktemp(case) for case in CASES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, SETTINGS.size, TINY)
        for case, folder in made.items():
            prepare_workload(case=case, output=folder / "input.json", settings=SETTINGS)
            export_workload(
                case=case,
                prepared=folder / "input.json",
                output=folder / "network.json",
                engines=[EngineName.OPENVINO],
                opset=18,
                settings=SETTINGS,
            )
    return made


@pytest.fixture
def reason_of(folders, tmp_path):
    """Return why a workload's measurement is invalid; fail where it is valid."""

    def reason(case, **settings):
        time_workload(
            engine=EngineName.OPENVINO,
            precision=Precision.F32,
            folder=folders[case],
            output=tmp_path / "cell.json",
            limit=1e-3,
            benchmark=BenchmarkSettings(threads=1),
            settings=WorkloadSettings(**{**dict(SETTINGS), **settings}),
        )
        cell = read_cell(tmp_path / "cell.json", WorkloadCell)
        assert cell.verdict is Verdict.INVALID
        return cell.reason

    return reason


class Runs:
    """An engine as runs see it: right but for what is done to its answers.

    Args:
        engine: A real one.
        spoil: Gets how many calls of all runs there were before, and the answers, to change them.
    """

    calls = 0

    def __init__(self, engine, spoil):
        self.device, self.interface = engine.device, engine.interface
        self._engine, self._spoil = engine, spoil

    def run(self, inputs):
        (answers,) = self._engine.run(inputs)
        answers = answers.copy()
        self._spoil(Runs.calls, answers)
        Runs.calls += 1
        return (answers,)

    def infer(self, patches):
        return self.run((patches,))[0]


@pytest.fixture
def spoil_runs(monkeypatch):
    """Change the answers of runs, and leave those to examples that are asked for by themselves."""
    timed = measure.timed
    monkeypatch.setattr(Runs, "calls", 0)

    def spoiled(spoil):
        monkeypatch.setattr(
            measure, "timed", lambda run, engine, size, meter: timed(run, Runs(engine, spoil), size)
        )

    return spoiled


def reverse(calls, answers):
    answers[:] = answers[::-1].copy()


@pytest.mark.parametrize("batch_sizes", [(5,), (1, 5)])
def test_batches_in_the_wrong_order_are_invalid_also_where_no_other_size_is_timed(
    reason_of, spoil_runs, batch_sizes
):
    spoil_runs(reverse)
    reason = reason_of(BenchmarkCase.WSI, batch_sizes=batch_sizes)
    assert reason.startswith("sequential runs at batch 5 differ by ")
    assert reason.endswith(" from the network, limit 0.001")


def test_examples_are_asked_for_at_the_size_of_the_timed_batches(reason_of, monkeypatch):
    run = CheckedEngine.run

    def wrong_in_batches(engine, inputs):
        (answers,) = run(engine, inputs)
        return (answers[::-1],)

    monkeypatch.setattr(CheckedEngine, "run", wrong_in_batches)
    assert reason_of(BenchmarkCase.WSI).startswith("differs by ")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_single_answer_of_a_run_that_is_not_finite_is_invalid(reason_of, spoil_runs, case, value):
    def spoil(calls, answers):
        if calls == 1:
            answers[0].flat[0] = value

    spoil_runs(spoil)
    assert reason_of(case).startswith("answers that are not finite, in sequential runs at batch ")


@pytest.mark.parametrize("case", CASES)
def test_runs_without_any_finite_answer_are_invalid(reason_of, spoil_runs, case):
    spoil_runs(lambda _, answers: answers.fill(np.nan))
    assert reason_of(case).startswith("answers that are not finite, in sequential runs at batch ")


@pytest.mark.parametrize("case", CASES)
def test_examples_without_a_finite_answer_are_invalid(reason_of, monkeypatch, case):
    run = CheckedEngine.run
    monkeypatch.setattr(
        CheckedEngine, "run", lambda engine, inputs: (run(engine, inputs)[0] * np.float32("nan"),)
    )
    assert reason_of(case) == "answers that are not finite, to examples"


def test_volume_is_invalid_where_most_patches_are_wrong_in_the_same_way_in_all_runs(
    reason_of, folders, monkeypatch
):
    volume, run = np.load(open_input(folders[BenchmarkCase.CT] / "input.json")), CheckedEngine.run
    right = [volume[0:16, 32:40, 32:50], volume[16:20, 0:16, 0:32]]

    def wrong_but_in_the_middle(engine, inputs):
        (answers,) = run(engine, inputs)
        known = any(
            np.array_equal(inputs[0][0][tuple(map(slice, patch.shape))], patch) for patch in right
        )
        return (answers if known else answers[..., ::-1],)

    monkeypatch.setattr(CheckedEngine, "run", wrong_but_in_the_middle)
    assert reason_of(BenchmarkCase.CT).startswith("differs by ")


@pytest.mark.parametrize("case", [BenchmarkCase.ULTRASOUND, BenchmarkCase.CT])
def test_runs_are_held_against_the_network_not_only_against_each_other(reason_of, spoil_runs, case):
    spoil_runs(lambda _, answers: answers.sort(axis=-1))
    reason = reason_of(case)
    assert reason.startswith("sequential runs at batch 1 differ by ")
    assert reason.endswith(" from the network, limit 0.01")


def test_what_is_no_example_is_held_against_the_first_run(reason_of, spoil_runs):
    def spoil(calls, answers):
        # The third of 12 patches is none of the 8 examples.
        if calls == 12 + 2:
            answers[:] = answers[..., ::-1].copy()

    spoil_runs(spoil)
    assert reason_of(BenchmarkCase.CT).startswith("results of two runs differ by ")

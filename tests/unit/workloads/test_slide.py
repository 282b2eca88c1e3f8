"""The slide as it is read while the engine computes."""

import time

import numpy as np
import pytest
from PIL import Image

from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device
from lamella.slides.reading_processes import ReadingProcesses
from lamella.workloads.measure import timed
from lamella.workloads.slide import WholeSlide
from lamella.workloads.stages import Stage, StageClock

PATCH_PX = 64


class Waiting:
    """An engine that answers its first call once a second patch has been read."""

    device = Device.CPU
    interface = ModelInterface(
        inputs=(), outputs=(TensorDescription(name="p", dtype="float32", shape=(-1, 4), layout=""),)
    )

    def __init__(self, clock):
        self.calls, self._clock = 0, clock

    def infer(self, patches):
        self.calls += 1
        until = time.monotonic() + 30
        while self._clock.times()[Stage.PATCH_GENERATOR].calls < 2:
            assert time.monotonic() < until, "nobody reads while the engine computes"
            time.sleep(0.01)
        return np.zeros((len(patches), 4), dtype=np.float32)


class Idle:
    """An engine that answers at once."""

    device, interface = Device.CPU, Waiting.interface

    def infer(self, patches):
        return np.zeros((len(patches), 4), dtype=np.float32)


class Means(Idle):
    """An engine that answers with the mean of each colour."""

    def infer(self, patches):
        means = patches.mean(axis=(1, 2), dtype=np.float64)
        return np.pad(means, ((0, 0), (0, 1))).astype(np.float32)


@pytest.mark.parametrize("patch_px", [250, 299])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_patches_of_odd_sizes_are_answered_where_they_lie(patch_px, batch_size, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 60, (900, 1200, 3), dtype=np.uint8)
    # Each place has a mean of its own.
    drawn += (np.indices((900, 1200)).sum(axis=0) // 20)[..., None].astype(np.uint8)
    Image.fromarray(drawn).save(tmp_path / "slide.png")
    slide = WholeSlide(tmp_path / "slide.png", patch_px, readers=2)
    found = slide.run(Means(), StageClock(), batch_size=batch_size)
    rows, columns = 900 // patch_px, 1200 // patch_px
    assert slide.items >= rows * columns
    for row, column in np.ndindex(rows, columns):
        y, x = row * patch_px, column * patch_px
        expected = drawn[y : y + patch_px, x : x + patch_px].mean(axis=(0, 1))
        np.testing.assert_allclose(found[row, column, :3], expected, rtol=1e-6)
    with slide.overlapped(batch_size) as run:
        np.testing.assert_array_equal(run(Means(), StageClock(), batch_size=batch_size), found)


@pytest.fixture
def slide(tmp_path):
    path = tmp_path / "slide.png"
    Image.new("RGB", (1200, 900), (180, 40, 120)).save(path)
    return WholeSlide(path, PATCH_PX, readers=1, run_items=3)


def test_the_second_batch_is_read_while_the_engine_computes_the_first(slide):
    clock = StageClock()
    engine = Waiting(clock)
    with slide.overlapped(1) as run:
        run(engine, clock, batch_size=1)
    assert engine.calls == clock.times()[Stage.PATCH_GENERATOR].calls == 3


def delayed(call, seconds):
    def slowly(*given, **named):
        time.sleep(seconds)
        return call(*given, **named)

    return slowly


@pytest.mark.parametrize("overlapped", [False, True])
def test_a_run_starts_with_what_it_does_once_and_with_the_first_batch_where_read_ahead(
    slide, overlapped, monkeypatch
):
    engine = Idle()
    monkeypatch.setattr(engine, "infer", delayed(engine.infer, 0.1))
    monkeypatch.setattr(WholeSlide, "_batch", delayed(WholeSlide._batch, 0.1))
    monkeypatch.setattr(WholeSlide, "_opened", delayed(WholeSlide._opened, 0.1))
    monkeypatch.setattr(ReadingProcesses, "read_batch", delayed(ReadingProcesses.read_batch, 0.1))
    with slide.overlapped(1) as ahead:
        times, _ = timed(ahead if overlapped else slide.run, engine, 1)
    # The slide is opened, or the first of three batches is there.
    assert times.start_ms > times.stages[Stage.TISSUE].total_ms + 100
    # All three batches are still to be computed, and in turn to be read.
    assert times.total_ms > times.start_ms + (300 if overlapped else 600)


def test_processor_time_of_the_processes_is_that_of_the_run(slide, monkeypatch):
    # What this process takes itself is left out.
    monkeypatch.setattr("lamella.workloads.measure.time.process_time_ns", lambda: 0)
    with slide.overlapped(1) as run:
        runs = [timed(run, Idle(), 1)[0] for _ in range(10)]
    assert min(times.cpu_ms for times in runs) > 0
    # Of each run alone: that of the runs before is not counted again.
    assert min(times.cpu_ms for times in runs[7:]) < 3 * runs[1].cpu_ms


def test_nothing_is_read_any_more_where_the_engine_has_failed(slide, monkeypatch):
    class Broken(Waiting):
        def infer(self, patches):
            raise RuntimeError("out of memory")

    monkeypatch.setattr(ReadingProcesses, "read_batch", delayed(ReadingProcesses.read_batch, 0.2))
    clock = StageClock()
    with slide.overlapped(1) as run:
        # It holds all that was under way: what it was must have been ended.
        with pytest.raises(RuntimeError, match="out of memory") as raised:
            run(Broken(clock), clock, batch_size=1)
        calls = clock.times()[Stage.PATCH_GENERATOR].calls
        time.sleep(0.5)
        assert clock.times()[Stage.PATCH_GENERATOR].calls == calls
    assert raised.traceback

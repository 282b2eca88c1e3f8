"""The slide as it is read while the engine computes."""

import time

import numpy as np
import pytest
from PIL import Image

from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device
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


def test_processor_time_of_the_processes_is_that_of_the_run(slide, monkeypatch):
    class Idle:
        device, interface = Device.CPU, Waiting.interface

        def infer(self, patches):
            return np.zeros((len(patches), 4), dtype=np.float32)

    clock = StageClock()
    with slide.overlapped(1) as run:
        timed(run, Idle(), 1)
        # What this process takes itself is left out.
        monkeypatch.setattr("lamella.workloads.measure.time.process_time_ns", lambda: 0)
        times, _ = timed(run, Idle(), 1)
        run(Idle(), clock, batch_size=1)
    reading_ms = times.stages[Stage.PATCH_GENERATOR].total_ms
    assert 0 < reading_ms < times.cpu_ms < 10_000
    assert clock.processes_cpu_ns > 0

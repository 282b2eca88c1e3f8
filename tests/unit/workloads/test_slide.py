"""The slide as it is read while the engine computes."""

import threading

import numpy as np
from PIL import Image

from lamella.export.description import ModelInterface, TensorDescription
from lamella.settings import Device
from lamella.slides.reader import SlideReader
from lamella.workloads.slide import WholeSlide
from lamella.workloads.stages import StageClock

PATCH_PX = 64


class Waiting:
    """An engine that answers its first call once a second patch has been asked for."""

    device = Device.CPU
    interface = ModelInterface(
        inputs=(), outputs=(TensorDescription(name="p", dtype="float32", shape=(-1, 4), layout=""),)
    )

    def __init__(self, second):
        self.calls, self._second = 0, second

    def infer(self, patches):
        self.calls += 1
        assert self._second.wait(timeout=30), "nobody reads while the engine computes"
        return np.zeros((len(patches), 4), dtype=np.float32)


def test_the_second_batch_is_read_while_the_engine_computes_the_first(tmp_path, monkeypatch):
    path = tmp_path / "slide.png"
    Image.new("RGB", (1200, 900), (180, 40, 120)).save(path)
    slide = WholeSlide(path, PATCH_PX, readers=1, run_items=3)
    second, places = threading.Event(), set()

    class Telling(SlideReader):
        """Tells when a second patch is asked for."""

        def __init__(self, *given):
            super().__init__(*given)
            read = self.source.read_into

            def read_into(pixels, x, y, level):
                if pixels.shape == (PATCH_PX, PATCH_PX, 3):
                    places.add((x, y))
                if len(places) == 2:
                    second.set()
                read(pixels, x, y, level)

            self.source.read_into = read_into

    monkeypatch.setattr("lamella.workloads.slide.SlideReader", Telling)
    engine = Waiting(second)
    slide.run_overlapped(engine, StageClock(), batch_size=1)
    assert engine.calls == len(places) == 3

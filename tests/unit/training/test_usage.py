"""Use of processor and memory is what other ways of measuring it say."""

import mmap
import threading
import time

import pytest

from lamella.settings import Device
from lamella.training.usage import UsageMeter

MEGABYTE = 1_000_000


TICK_S = 0.03
"""The system counts processor time in ticks, of the user's work and of its own."""


def now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def test_processor_time_is_that_of_the_process_in_percent_of_one_core() -> None:
    meter = UsageMeter(Device.CPU)
    before = now()
    meter.start()
    started = now()
    while time.process_time() < started[1] + 0.5:
        pass
    time.sleep(0.5)  # a share of the time that is not used
    stopping = now()
    used = meter.stop()["cpu_utilization_percentage"]
    stopped = now()
    # The meter looks between two readings, wherever the machine halts.
    shortest_s, least_s = (late - early for late, early in zip(stopping, started, strict=True))
    longest_s, most_s = (late - early for late, early in zip(stopped, before, strict=True))
    assert 100 * (least_s - TICK_S) / longest_s <= used <= 100 * (most_s + TICK_S) / shortest_s


class Watched(UsageMeter):
    """Says when its thread has looked at the memory."""

    looked = threading.Semaphore(0)

    def _resident_now(self) -> int:
        found = super()._resident_now()
        if threading.current_thread().name == "usage":
            self.looked.release()
        return found

    def look(self) -> None:
        """Return after the thread has looked at what there is now."""
        while self.looked.acquire(blocking=False):
            pass
        # The first look may have begun before.
        assert self.looked.acquire(timeout=60)
        assert self.looked.acquire(timeout=60)


def test_memory_that_was_freed_before_the_end_counts_for_the_peak_and_less_for_the_mean() -> None:
    meter = Watched(Device.CPU, period_s=0.01)
    meter.start()
    few = meter.stop()["system_memory_peak_megabytes"]
    meter.start()
    meter.look()
    # Of the system itself: an allocator may keep what is given back to it.
    with mmap.mmap(-1, 200 * MEGABYTE) as large:
        for _ in range(200):
            large.write(bytes(MEGABYTE))
        meter.look()
    used = meter.stop()
    peak, mean = used["system_memory_peak_megabytes"], used["system_memory_usage_megabytes"]
    assert peak - few == pytest.approx(200, abs=20)
    assert few < mean < peak
    meter.start()
    assert meter.stop()["system_memory_peak_megabytes"] == pytest.approx(few, abs=20)


def test_a_meter_on_a_processor_says_nothing_of_a_gpu_and_leaves_no_thread() -> None:
    meter = UsageMeter(Device.CPU)
    meter.start()
    meter.start()
    assert [each.name for each in threading.enumerate()].count("usage") == 1
    assert set(meter.stop()) == {
        "cpu_utilization_percentage",
        "system_memory_usage_megabytes",
        "system_memory_peak_megabytes",
    }
    assert "usage" not in [each.name for each in threading.enumerate()]
    with pytest.raises(RuntimeError, match="without start"):
        meter.stop()


@pytest.mark.gpu
def test_memory_of_a_gpu_is_the_most_that_was_allocated_since_the_start() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    meter = UsageMeter(Device.CUDA)
    meter.start()
    large = torch.ones(200 * MEGABYTE, dtype=torch.uint8, device="cuda")
    del large
    assert meter.stop()["gpu_0_memory_usage_megabytes"] >= 200
    meter.start()
    assert meter.stop()["gpu_0_memory_usage_megabytes"] < 100

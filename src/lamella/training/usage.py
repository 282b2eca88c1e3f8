"""What a rank uses of its machine while it trains: processor time and memory."""

import threading
import time
from statistics import fmean

import psutil
import torch

from lamella.settings import Device

Usage = dict[str, float]
"""Names as in MLflow's own monitor, and values; see ``UsageMeter.stop``."""

_MEGABYTE = 1_000_000
_PERIOD_S = 1.0


class UsageMeter:
    """Measures what this process uses from ``start`` to ``stop``, epoch after epoch.

    A thread looks at the memory once a second; processor time is counted by the system anyhow.

    Args:
        device: Where the network is; of a GPU (torch's current one), memory is measured, too.
        period_s: Seconds between two looks at the memory.
    """

    def __init__(self, device: Device, *, period_s: float = _PERIOD_S) -> None:
        self._device = device
        self._period_s = period_s
        self._process = psutil.Process()
        self._resident: list[int] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to measure; what was being measured is dropped."""
        self.close()
        self._resident = [self._resident_now()]
        self._began_s, self._busy_s = time.monotonic(), self._busy_now_s()
        if self._device is Device.CUDA:
            torch.cuda.reset_peak_memory_stats()
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """End measuring, and return what was used since ``start``.

        Returns:
            ``cpu_utilization_percentage``: mean use of the processor, 100 for one whole core;
            ``system_memory_usage_megabytes``: mean resident memory of this process;
            ``system_memory_peak_megabytes``: the most that was seen of it;
            ``gpu_<number>_memory_usage_megabytes``, on a GPU: the most that torch had allocated.

        Raises:
            RuntimeError: nothing is being measured.
        """
        if self._thread is None:
            raise RuntimeError("stop() without start()")
        self.close()
        self._resident.append(self._resident_now())
        passed_s = time.monotonic() - self._began_s
        busy_s = self._busy_now_s() - self._busy_s
        return {
            "cpu_utilization_percentage": 100.0 * busy_s / passed_s,
            "system_memory_usage_megabytes": fmean(self._resident) / _MEGABYTE,
            "system_memory_peak_megabytes": max(self._resident) / _MEGABYTE,
            **self._of_gpu(),
        }

    def close(self) -> None:
        """End measuring, and drop what was measured since ``start``."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _watch(self) -> None:
        while not self._ended.wait(self._period_s):
            self._resident.append(self._resident_now())

    def _resident_now(self) -> int:
        return int(self._process.memory_info().rss)

    def _busy_now_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _of_gpu(self) -> Usage:
        if self._device is not Device.CUDA:
            return {}
        name = f"gpu_{torch.cuda.current_device()}_memory_usage_megabytes"
        return {name: torch.cuda.max_memory_allocated() / _MEGABYTE}

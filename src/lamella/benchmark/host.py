"""The machine that is measured on."""

import os
import platform
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Host = dict[str, str | int | float]

DRIVER = Path("/proc/driver/nvidia/version")
"""Where the driver of NVIDIA GPUs says its version."""

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where it has a folder for each GPU."""


def describe_host() -> Host:
    """Return name, CPU model, usable CPUs, memory, kernel and load of the last minute.

    And the driver and the models of NVIDIA GPUs, where there are any.
    """
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    driver = {"driver": driver_version(DRIVER.read_text("utf-8"))} if DRIVER.exists() else {}
    gpus = gpu_models(path.read_text("utf-8") for path in sorted(GPUS.glob("*/information")))
    return {
        "name": socket.gethostname(),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": pages // 2**20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": os.getloadavg()[0],
        **driver,
        **({"gpu": gpus} if gpus else {}),
    }


def cpu_model(cpuinfo: str) -> str:
    """Return the model of the first CPU in the text of ``/proc/cpuinfo``."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def gpu_models(texts: Iterable[str]) -> str:
    """Return the models in texts of ``/proc/driver/nvidia/gpus/*/information``, each once."""
    found = (re.search(r"^Model:\s*(.+?)\s*$", text, re.MULTILINE) for text in texts)
    return ", ".join(dict.fromkeys(each[1] for each in found if each))


def driver_version(text: str) -> str:
    """Return the version in the text of ``/proc/driver/nvidia/version``.

    Its first line ends ``Kernel Module  535.104.05  Sat Aug 19 …``, of the open one after the
    architecture: ``Open Kernel Module for x86_64  580.65.06  Release Build …``. It is returned as
    it is where it looks otherwise.
    """
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", text)
    return found[1] if found else text.partition("\n")[0]


@dataclass(frozen=True)
class CpuTimes:
    """Time of all CPUs of the machine since it was started.

    Attributes:
        all_s: Time, idle time included.
        busy_s: Time in which they worked, for another machine on the same hardware included.
        own_s: Time in which they worked for this process and its children that have ended.
    """

    all_s: float
    busy_s: float
    own_s: float


def read_cpu_times() -> CpuTimes:
    """Return the times until now."""
    own = os.times()
    own_s = own.user + own.system + own.children_user + own.children_system
    stat = Path("/proc/stat").read_text(encoding="utf-8")
    return cpu_times(stat, ticks_per_s=os.sysconf("SC_CLK_TCK"), own_s=own_s)


def cpu_times(stat: str, *, ticks_per_s: int, own_s: float) -> CpuTimes:
    """Return the times of the text of ``/proc/stat``.

    Source:
        The first line: ``cpu user nice system idle iowait irq softirq steal guest guest_nice`` in
        ticks, guest within user; man 5 proc_stat.
    """
    ticks = [int(count) for count in stat.splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return CpuTimes(sum(ticks) / ticks_per_s, (sum(ticks) - idle) / ticks_per_s, own_s)


def others_cpu_share(before: CpuTimes, after: CpuTimes) -> float:
    """Return the share of all CPUs, 0-1, that worked for other processes meanwhile.

    0 where no tick has passed in between.
    """
    passed_s = after.all_s - before.all_s
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    # Ticks are coarse: the own time can seem to be more than all.
    return max(0.0, others_s) / passed_s if passed_s > 0 else 0.0


def memory_mib(status: str, name: str) -> float:
    """Return a figure of the text of ``/proc/self/status`` in MiB.

    Args:
        status: The text.
        name: ``VmRSS`` for memory in use, ``VmHWM`` for its highest value so far.
    """
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) / 1024
    raise ValueError(f"{name} is not in /proc/self/status")


def own_memory_mib(name: str) -> float:
    """Return a figure of this process; see ``memory_mib``."""
    return memory_mib(Path("/proc/self/status").read_text(encoding="utf-8"), name)

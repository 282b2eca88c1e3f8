"""Energy counters: of the CPU packages (RAPL), or of the GPU (NVML)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lamella.benchmark.nvml import open_gpu
from lamella.settings import Device

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows RAPL, of AMD, too."""

_UJ_PER_J = 1e6

_MOST_W = 500.0
"""What no CPU package takes for minutes."""

_RAPL_SHORTEST_S = 0.1
"""RAPL counts every millisecond: a hundred times."""

_NVML_SHORTEST_S = 2.0
"""NVML's counter moves only some times a second."""


@dataclass(frozen=True)
class Counters:
    """Counters that only go up, until they start at 0 again.

    Attributes:
        source: What they count.
        ranges_uj: Highest value of each in microjoules.
        read: Returns the value of each in microjoules.
        shortest_s: Time between two readings below which the steps of the counters show.
    """

    source: str
    ranges_uj: Mapping[str, int]
    read: Callable[[], dict[str, int]]
    shortest_s: float


def consumed_uj(before: int, after: int, range_uj: int) -> int:
    """Return what a counter counted between two readings, between which it restarted once at most.

    Args:
        before: First reading in microjoules.
        after: Second reading.
        range_uj: Highest value, after which it starts at 0.
    """
    return after - before if after >= before else range_uj - before + after


class EnergyMeter:
    """Adds up what was consumed.

    Attributes:
        shortest_s: Time between two readings below which the steps of the counters show.
        longest_s: Time between two readings within which no counter can have gone round.

    Of a counter that restarts twice between two readings one round is lost: read it more often than
    that. A CPU package at 300 W takes 14 minutes for a round of 262 kJ.
    """

    def __init__(self, counters: Counters) -> None:
        self.shortest_s = counters.shortest_s
        self.longest_s = min(counters.ranges_uj.values()) / _UJ_PER_J / _MOST_W
        self._counters = counters
        self._last = counters.read()
        self._sum_uj = 0

    def tick(self) -> None:
        """Read the counters."""
        now = self._counters.read()
        self._sum_uj += sum(
            consumed_uj(self._last[name], now[name], range_uj)
            for name, range_uj in self._counters.ranges_uj.items()
        )
        self._last = now

    @property
    def joules(self) -> float:
        """What was consumed up to the last tick."""
        return self._sum_uj / _UJ_PER_J


def read_joules(meter: EnergyMeter | None) -> float:
    """Return what a meter has counted up to now; 0 where there is none."""
    if meter is None:
        return 0.0
    meter.tick()
    return meter.joules


def joules_since(start_j: float, meter: EnergyMeter | None, *, seconds: float) -> float | None:
    """Return what was consumed since a reading.

    Args:
        start_j: That reading, of ``read_joules``.
        meter: The meter, if there is one.
        seconds: Time since then; ``None`` is returned where it is too short for the counters.
    """
    now_j = read_joules(meter)
    return None if meter is None or seconds < meter.shortest_s else now_j - start_j


def find_meter(device: Device, powercap: Path = POWERCAP) -> tuple[EnergyMeter | None, str]:
    """Return a meter of the energy of a device, or why there is none.

    Args:
        device: Where the engine runs; of a GPU, what the CPU consumes beside it is not counted.
        powercap: The folder of RAPL.

    Returns:
        The meter, ``None`` where no counter can be read; and what it reads, or why there is none.
    """
    found = rapl_counters(powercap) if device is Device.CPU else _gpu_counters()
    if isinstance(found, str):
        return None, f"none: {found}"
    return EnergyMeter(found), found.source


def rapl_counters(powercap: Path) -> Counters | str:
    """Return the counters of all CPU packages, or why there are none.

    Everything that runs on them counts, and idle cores do.

    Source:
        Linux, Documentation/power/powercap/powercap.rst: beside the packages stand their parts
        (``core``, ``dram`` …) and the whole platform (``psys``), which would count twice.
    """
    files = {}
    ranges_uj = {}
    try:
        for zone in sorted(powercap.glob("intel-rapl:*")):
            name = (zone / "name").read_text(encoding="ascii").strip()
            if name.startswith("package"):
                files[name] = zone / "energy_uj"
                ranges_uj[name] = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
                int(files[name].read_text(encoding="ascii"))
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    if not files:
        return f"{powercap} has no counter of a CPU package"

    def read() -> dict[str, int]:
        return {name: int(path.read_text(encoding="ascii")) for name, path in files.items()}

    return Counters(f"RAPL {', '.join(files)}", ranges_uj, read, _RAPL_SHORTEST_S)


def _gpu_counters() -> Counters | str:
    gpu = open_gpu()
    if isinstance(gpu, str):
        return gpu
    # 64 bits of millijoules last longer than any GPU.
    return Counters(
        f"NVML {gpu.uuid}",
        {gpu.uuid: 2**63 - 1},
        lambda: {gpu.uuid: gpu.energy_mj() * 1000},
        _NVML_SHORTEST_S,
    )

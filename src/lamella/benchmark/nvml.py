"""Energy and memory of an NVIDIA GPU, read from the library of its driver."""

import ctypes
import os
from collections.abc import Mapping

_LIBRARY = "libnvidia-ml.so.1"
_UUID_BYTES = 96
_MOST_PROCESSES = 1024
_MIB = 2**20

_NOT_AVAILABLE = 2**64 - 1
"""``NVML_VALUE_NOT_AVAILABLE``: the driver does not count the memory of a process."""


class _Process(ctypes.Structure):
    """``nvmlProcessInfo_t``."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class MeteredGpu:
    """One GPU.

    Source:
        NVML API reference, "Device Queries": ``nvmlDeviceGetTotalEnergyConsumption`` in millijoules
        since the driver was loaded, from Volta on; ``nvmlDeviceGetComputeRunningProcesses_v3``.
    """

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle
        text = ctypes.create_string_buffer(_UUID_BYTES)
        _check(library, library.nvmlDeviceGetUUID(handle, text, ctypes.c_uint(_UUID_BYTES)))
        self.uuid = text.value.decode("ascii")

    def energy_mj(self) -> int:
        """Return the energy since the driver was loaded, in millijoules.

        Raises:
            OSError: the GPU does not count it.
        """
        energy = ctypes.c_ulonglong()
        status = self._library.nvmlDeviceGetTotalEnergyConsumption(
            self._handle, ctypes.byref(energy)
        )
        _check(self._library, status)
        return energy.value

    def memory_mib(self, pid: int) -> float | None:
        """Return the memory that a process holds; ``None`` where NVML does not know it.

        In a container NVML may number processes as the host does.

        Raises:
            OSError: NVML does not list processes.
        """
        count = ctypes.c_uint(_MOST_PROCESSES)
        listed = (_Process * _MOST_PROCESSES)()
        status = self._library.nvmlDeviceGetComputeRunningProcesses_v3(
            self._handle, ctypes.byref(count), listed
        )
        _check(self._library, status)
        # One entry for each part of a GPU that is split.
        own = [each.used_bytes for each in listed[: count.value] if each.pid == pid]
        return sum(own) / _MIB if own and _NOT_AVAILABLE not in own else None


def open_gpu(
    environment: Mapping[str, str] = os.environ, library: str = _LIBRARY
) -> MeteredGpu | str:
    """Return the first GPU that CUDA sees, or why its counters cannot be read.

    CUDA and NVML number GPUs differently. Where it is not sure which one is meant, none is read.

    Args:
        environment: With ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER``.
        library: The library to load.
    """
    try:
        nvml = ctypes.CDLL(library)
        _check(nvml, nvml.nvmlInit_v2())
        count = ctypes.c_uint()
        _check(nvml, nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
        chosen = place_of_first_gpu(environment, count.value)
        if chosen is None:
            return f"it is not sure which of {count.value} GPUs CUDA takes"
        handle = ctypes.c_void_p()
        place = ctypes.byref(handle)
        if isinstance(chosen, int):
            status = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(chosen), place)
        else:
            status = nvml.nvmlDeviceGetHandleByUUID(chosen.encode("ascii"), place)
        _check(nvml, status)
        gpu = MeteredGpu(nvml, handle)
        gpu.energy_mj()
    except OSError as error:
        return str(error)
    return gpu


def own_gpu_memory_mib(
    environment: Mapping[str, str] = os.environ, library: str = _LIBRARY
) -> float | None:
    """Return the memory of this process on the first GPU that CUDA sees; see ``memory_mib``.

    Args:
        environment: See ``open_gpu``.
        library: The library to load.

    Returns:
        ``None``, too, where ``open_gpu`` says that it cannot be read.
    """
    gpu = open_gpu(environment, library)
    if isinstance(gpu, str):
        return None
    try:
        return gpu.memory_mib(os.getpid())
    # Drivers before 510 have no such function.
    except (OSError, AttributeError):
        return None


def place_of_first_gpu(environment: Mapping[str, str], count: int) -> int | str | None:
    """Return NVML's number, or the UUID, of the first GPU that CUDA sees; ``None`` if unsure.

    Args:
        environment: With ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER``.
        count: GPUs that NVML sees.
    """
    first = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first.startswith("GPU-"):
        return first
    if count == 1 and not first.startswith("MIG-"):
        return 0
    in_order = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return int(first) if in_order and first.isdecimal() else None


def _check(library: ctypes.CDLL, status: int) -> None:
    if status != 0:
        library.nvmlErrorString.restype = ctypes.c_char_p
        text = library.nvmlErrorString(ctypes.c_int(status))
        raise OSError(f"NVML: {text.decode('ascii')}")

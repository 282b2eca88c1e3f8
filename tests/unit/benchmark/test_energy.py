import subprocess

import pytest

from lamella.benchmark.energy import (
    Counters,
    EnergyMeter,
    consumed_uj,
    find_meter,
    rapl_counters,
)
from lamella.benchmark.nvml import open_gpu, own_gpu_memory_mib, place_of_first_gpu
from lamella.settings import Device


def test_a_counter_that_starts_again_has_counted_to_its_end():
    assert consumed_uj(100, 250, 1000) == 150
    assert consumed_uj(900, 50, 1000) == 150
    assert consumed_uj(100, 100, 1000) == 0


def test_a_meter_adds_up_all_counters_over_every_restart():
    readings = iter([(900, 10), (50, 20), (700, 40), (100, 40)])
    ranges = {"package-0": 1_000, "package-1": 500}
    meter = EnergyMeter(
        Counters("drawn", ranges, lambda: dict(zip(ranges, next(readings), strict=True)), 0.0)
    )
    for _ in range(3):
        meter.tick()
    # 150 + 650 + 400 microjoules of the first, 10 + 20 + 0 of the second.
    assert meter.joules == pytest.approx(1230e-6)


def write_zone(folder, zone, name, energy_uj, range_uj=262_143_328_850):
    (folder / zone).mkdir(parents=True)
    for file, value in (
        ("name", name),
        ("energy_uj", energy_uj),
        ("max_energy_range_uj", range_uj),
    ):
        (folder / zone / file).write_text(f"{value}\n")


@pytest.fixture
def powercap(tmp_path):
    """Two packages with parts that would count twice, and the whole platform."""
    write_zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    write_zone(tmp_path, "intel-rapl:0:0", "core", 4_000_000)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000, range_uj=8_000_000)
    write_zone(tmp_path, "intel-rapl:2", "psys", 90_000_000)
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1)
    return tmp_path


def test_energy_is_that_of_whole_packages(powercap):
    meter, source = find_meter(Device.CPU, powercap)
    assert (source, meter.shortest_s) == ("RAPL package-0, package-1", 0.1)
    (powercap / "intel-rapl:0/energy_uj").write_text("5500000\n")
    (powercap / "intel-rapl:0:0/energy_uj").write_text("4400000\n")
    (powercap / "intel-rapl:1/energy_uj").write_text("1000000\n")
    meter.tick()
    # 0.5 J, and 1 J to the end of the second with 1 J after it.
    assert meter.joules == pytest.approx(2.5)


def test_no_counters_are_a_reason(tmp_path):
    empty = tmp_path / "powercap"
    assert find_meter(Device.CPU, empty) == (None, f"none: {empty} has no counter of a CPU package")


def test_counters_that_cannot_be_read_are_a_reason(powercap):
    unreadable = powercap / "intel-rapl:1/energy_uj"
    unreadable.unlink()
    # A folder in its place: who is root may read any file.
    unreadable.mkdir()
    assert rapl_counters(powercap) == f"{unreadable}: Is a directory"


@pytest.mark.parametrize(
    ("environment", "count", "gpu"),
    [
        ({}, 1, 0),
        ({"CUDA_VISIBLE_DEVICES": "5"}, 1, 0),
        ({}, 4, None),
        ({"CUDA_VISIBLE_DEVICES": "2"}, 4, None),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 4, 2),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 4, 0),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f3e,GPU-11aa"}, 4, "GPU-8f3e"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-77"}, 1, None),
    ],
)
def test_a_gpu_is_read_only_where_it_is_sure_which_one_cuda_takes(environment, count, gpu):
    assert place_of_first_gpu(environment, count) == gpu


def test_a_library_that_is_not_here_is_a_reason():
    assert "libabsent-ml.so.1" in open_gpu({}, "libabsent-ml.so.1")


NVML = """
#include <string.h>
#include <unistd.h>
static int numbers[2] = {0, 1};
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) { *gpu = &numbers[index]; return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **gpu) {
    if (strcmp(uuid, "GPU-one")) return 6;
    *gpu = &numbers[1];
    return 0;
}
int nvmlDeviceGetUUID(void *gpu, char *uuid, unsigned length) {
    strncpy(uuid, *(int *)gpu ? "GPU-one" : "GPU-zero", length);
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *gpu, unsigned long long *millijoules) {
    static unsigned long long counted = 5000000000ULL;
    if (*(int *)gpu == 0) return 3;
    *millijoules = counted += 250;
    return 0;
}
typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId;
    unsigned int computeInstanceId;
} nvmlProcessInfo_t;
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, nvmlProcessInfo_t *infos) {
    const unsigned long long MIB = 1ULL << 20, UNKNOWN = ~0ULL;
    const nvmlProcessInfo_t running[] = {
        {7, 70000 * MIB, ~0U, ~0U}, {getpid(), 812 * MIB + MIB / 2, ~0U, ~0U},
        {8, UNKNOWN, ~0U, ~0U}, {9, 100 * MIB, 1, 0}, {9, 28 * MIB, 2, 0},
        {10, 5 * MIB, ~0U, ~0U},
    };
    if (*count < 6) return 7;
    memcpy(infos, running, sizeof running);
    /* The last one has just ended. */
    *count = 5;
    return 0;
}
const char *nvmlErrorString(int status) { return status == 6 ? "Not Found" : "Not Supported"; }
"""


@pytest.fixture(scope="module")
def nvml(tmp_path_factory):
    """The functions of NVML with the types of its header; no GPU is needed to call them wrongly."""
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    try:
        command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "nvml.c")]
        subprocess.run(command, check=True)
    except FileNotFoundError:
        pytest.skip("no C compiler is here")
    return str(library)


def test_a_gpu_counts_in_64_bits(nvml):
    gpu = open_gpu({"CUDA_VISIBLE_DEVICES": "GPU-one"}, nvml)
    assert gpu.uuid == "GPU-one"
    first = gpu.energy_mj()
    assert first > 5_000_000_000
    assert gpu.energy_mj() - first == 250


def test_a_meter_of_a_gpu_counts_joules_and_needs_two_seconds(nvml, monkeypatch):
    one = {"CUDA_VISIBLE_DEVICES": "GPU-one"}
    monkeypatch.setattr("lamella.benchmark.energy.open_gpu", lambda: open_gpu(one, nvml))
    meter, source = find_meter(Device.CUDA)
    assert (source, meter.shortest_s) == ("NVML GPU-one", 2.0)
    meter.tick()
    assert meter.joules == 0.25


def test_memory_of_a_process_is_that_of_all_parts_of_the_gpu_or_unknown(nvml):
    one = {"CUDA_VISIBLE_DEVICES": "GPU-one"}
    gpu = open_gpu(one, nvml)
    assert [gpu.memory_mib(pid) for pid in (7, 9)] == [70000.0, 128.0]
    # The driver does not count it; it has ended; it is not on the GPU.
    assert [gpu.memory_mib(pid) for pid in (8, 10, 11)] == [None, None, None]
    assert own_gpu_memory_mib(one, nvml) == 812.5
    # Which GPU is not sure, or is not there.
    assert own_gpu_memory_mib({}, nvml) is None
    assert own_gpu_memory_mib({}, "libabsent-ml.so.1") is None


def test_what_nvml_refuses_is_a_reason(nvml):
    ordered = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert open_gpu(ordered, nvml) == "NVML: Not Supported"
    assert open_gpu({"CUDA_VISIBLE_DEVICES": "GPU-two"}, nvml) == "NVML: Not Found"
    assert open_gpu({}, nvml) == "it is not sure which of 2 GPUs CUDA takes"

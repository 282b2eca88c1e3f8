import subprocess
import sys
import time

import psutil
import pytest

from lamella.benchmark.host import (
    CpuTimes,
    cpu_model,
    cpu_times,
    describe_host,
    driver_version,
    gpu_models,
    memory_mib,
    others_cpu_share,
    own_memory_mib,
    read_cpu_times,
)

STATUS = "Name:\tpython\nVmHWM:\t    3072 kB\nVmRSS:\t    2048 kB\n"


def test_memory_is_read_in_mib():
    assert memory_mib(STATUS, "VmHWM") == 3.0
    assert memory_mib(STATUS, "VmRSS") == 2.0


def test_an_unknown_figure_is_refused():
    with pytest.raises(ValueError, match="VmNone is not in"):
        memory_mib(STATUS, "VmNone")


def test_the_peak_includes_memory_that_was_given_back():
    before = own_memory_mib("VmRSS")
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    del block
    assert own_memory_mib("VmHWM") > before + 190


def test_the_cpu_model_is_that_of_the_first_cpu():
    text = "processor\t: 0\nmodel name\t: Drawn CPU @ 3: GHz\nprocessor\t: 1\nmodel name\t: X\n"
    assert cpu_model(text) == "Drawn CPU @ 3: GHz"


def test_a_host_has_cpus_and_memory():
    host = describe_host()
    assert host["cpus"] >= 1
    assert host["memory_mib"] > 100


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC",
            "535.104.05",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build",
            "580.65.06",
        ),
        ("NVRM version: another layout", "NVRM version: another layout"),
    ],
)
def test_the_driver_is_that_of_its_kernel_module(line, version):
    assert driver_version(f"{line}\nGCC version:  gcc version 12.3.0\n") == version


def test_a_host_names_its_driver_where_one_is_loaded(tmp_path, monkeypatch):
    file = tmp_path / "version"
    monkeypatch.setattr("lamella.benchmark.host.DRIVER", file)
    assert "driver" not in describe_host()
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n")
    assert describe_host()["driver"] == "535.104.05"


def test_times_of_the_cpus_by_hand():
    stat = "cpu  100 20 30 600 50 5 10 85 40 3\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    # Idle are 600 + 50 of 900 ticks; the 40 + 3 of guests are within the others.
    assert cpu_times(stat, ticks_per_s=100, own_s=1.0) == CpuTimes(9.0, 2.5, 1.0)


def test_the_share_of_others_is_what_is_busy_without_the_own_time():
    before, after = CpuTimes(100.0, 40.0, 7.0), CpuTimes(120.0, 55.0, 12.0)
    assert others_cpu_share(before, after) == 0.5
    assert others_cpu_share(before, CpuTimes(120.0, 44.0, 12.0)) == 0.0
    assert others_cpu_share(before, before) == 0.0


def test_a_busy_process_beside_this_one_is_seen_and_own_work_is_not():
    # What ended in earlier tests and nobody waited for would be counted as it is waited for now.
    subprocess._cleanup()
    before = read_cpu_times()
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    # Of processor time: on a busy machine little of it is left for this process.
    until = time.process_time() + 0.4
    while time.process_time() < until:
        pass
    # Before the end: what it does later is not seen.
    busy_s = sum(psutil.Process(other.pid).cpu_times()[:2])
    after = read_cpu_times()
    other.kill()
    other.wait()
    passed_s = after.all_s - before.all_s
    assert others_cpu_share(before, after) * passed_s >= busy_s - 0.1
    assert after.own_s - before.own_s > 0.1
    assert others_cpu_share(before, after) * passed_s <= passed_s - 0.1


def test_models_of_gpus_are_named_once_each():
    h100 = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 24\nGPU UUID: \t GPU-0c\n"
    assert gpu_models([h100, h100, "Model:  NVIDIA A100\n"]) == "NVIDIA H100 80GB HBM3, NVIDIA A100"
    assert gpu_models([]) == ""

"""Processes read a slide exactly as one reader does, and never outlive who started them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from lamella.errors import SlideUnreadableError, WorkerLostError
from lamella.slides import reading_server
from lamella.slides.reader import SlideReader
from lamella.slides.reading_processes import ReadingProcesses
from lamella.slides.settings import DEFAULT_READING
from lamella.units import Level0Pixels

CELL = Level0Pixels(16)
PX = 50
CORNERS = np.array([[0, 0], [210, 70], [460, 300], [33, 280], [128, 64], [7, 9]])


def processes(number: int = 2, batches: int = 4) -> ReadingProcesses:
    return ReadingProcesses(number, batches=batches, batch_size=3, patch_px=PX)


def children() -> list[psutil.Process]:
    """Those that read; other tests leave processes of libraries behind."""
    found = []
    for child in psutil.Process().children():
        # One of them may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            if reading_server.__name__ in child.cmdline():
                found.append(child)
    return found


def cpu_s_of_children() -> float:
    return sum(sum(child.cpu_times()[:2]) for child in children())


def test_they_read_what_one_reader_reads(slides, tmp_path: Path) -> None:
    slides.pyramid(tmp_path / "a.tiff", slides.picture())
    with (
        SlideReader(tmp_path / "a.tiff", DEFAULT_READING) as reader,
        processes() as several,
        ThreadPoolExecutor(2) as threads,
    ):
        opening = several.opening(tmp_path / "a.tiff")
        bands = reader.overview_bands(CELL, fewest=5)
        read_band = partial(several.read_overview_band, opening, CELL)
        found = np.concatenate(list(threads.map(read_band, bands)))
        assert np.array_equal(found, reader.read_overview(CELL))
        parts = [CORNERS[:3], CORNERS[3:5], CORNERS[5:]]
        batches = list(threads.map(partial(several.read_batch, opening), range(3), parts))
        for batch, corners in zip(batches, parts, strict=True):
            assert batch.patches.shape == (len(corners), PX, PX, 3)
            assert len(batch.times_ns) == len(corners)
            assert min(batch.times_ns) > 0
            for patch, (x, y) in zip(batch.patches, corners, strict=True):
                expected = np.empty_like(patch)
                reader.source.read_into(expected, x, y, 0)
                assert np.array_equal(patch, expected)
    assert not children()


def test_their_processor_time_is_counted_once_and_without_their_start(
    slides, tmp_path: Path
) -> None:
    slides.pyramid(tmp_path / "a.tiff", slides.picture())
    with processes() as several:
        before = cpu_s_of_children()
        assert before > 0.1, "they have started"
        assert several.cpu_ns == 0
        opening, n = several.opening(tmp_path / "a.tiff"), 0
        while cpu_s_of_children() < before + 0.6:
            several.read_batch(opening, n, CORNERS[:3])
            n += 1
        # The system counts in hundredths of a second: four counters, at both ends.
        assert several.cpu_ns / 1e9 == pytest.approx(cpu_s_of_children() - before, abs=0.12)


def test_more_patches_than_a_batch_are_refused(tmp_path: Path) -> None:
    with processes(number=1) as one, pytest.raises(ValueError, match="4 patches are no batch of"):
        one.read_batch(one.opening(tmp_path), 0, CORNERS[:4])


def test_slide_is_opened_anew_where_another_opening_is_asked_for(slides, tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    with processes(number=1) as one:
        found = []
        for pixels in (slides.picture(), 255 - slides.picture()):
            slides.pyramid(tmp_path / "new.tiff", pixels)
            (tmp_path / "new.tiff").replace(path)
            opening = one.opening(path)
            found += [one.read_batch(opening, n, CORNERS[:1]).patches.copy() for n in range(2)]
        assert np.array_equal(found[0], slides.picture()[None, :PX, :PX])
        assert np.array_equal(found[1], found[0])
        assert np.array_equal(found[2], 255 - found[0])
        opened = [file.path for file in children()[0].open_files()]
        assert opened.count(str(path)) == 1
        assert not [file for file in opened if "deleted" in file]


def test_damaged_tile_is_told_and_the_process_goes_on(slides, tmp_path: Path) -> None:
    tiles = slides.encoded_tiles(slides.picture())
    tiles[0] = tiles[0][: len(tiles[0]) // 2]
    slides.tiles(tmp_path / "a.tiff", tiles)
    with processes(number=1) as one:
        opening = one.opening(tmp_path / "a.tiff")
        for _ in range(2):
            with pytest.raises(SlideUnreadableError, match="column 0, row 0 of level 0"):
                one.read_batch(opening, 0, CORNERS[:2])
        assert one.read_batch(opening, 1, CORNERS[1:3]).patches.any()
        with pytest.raises(SlideUnreadableError, match=r"missing\.tiff"):
            one.read_batch(one.opening(tmp_path / "missing.tiff"), 0, CORNERS[:1])
        assert one.read_batch(opening, 1, CORNERS[1:3]).patches.any()


def test_process_that_is_killed_is_told_and_nothing_hangs(slides, tmp_path: Path) -> None:
    slides.pyramid(tmp_path / "a.tiff", slides.picture())
    with processes(number=1) as one:
        opening = one.opening(tmp_path / "a.tiff")
        one.read_batch(opening, 0, CORNERS[:1])
        children()[0].kill()
        for _ in range(2):
            with pytest.raises(WorkerLostError, match="has ended") as raised:
                one.read_batch(opening, 0, CORNERS[:1])
            assert raised.value.where == str(tmp_path / "a.tiff")
    assert not children()


READS_FOR_EVER = """
import itertools, numpy, psutil, signal, sys
from pathlib import Path
from lamella.slides.reading_processes import ReadingProcesses
# Where tests run in the background, shells have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with ReadingProcesses(3, batches=1, batch_size=1, patch_px=8) as several:
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    opening = several.opening(Path(sys.argv[1]))
    for number in itertools.count():
        several.read_batch(opening, number, numpy.array([[0, 0]]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_they_end_in_silence_with_whoever_started_them(slides, tmp_path: Path, how: int) -> None:
    slides.pyramid(tmp_path / "a.tiff", slides.picture())
    with subprocess.Popen(
        [sys.executable, "-c", READS_FOR_EVER, str(tmp_path / "a.tiff")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # As a terminal does, which sends Ctrl-C to all of the group.
        process_group=0,
    ) as started:
        assert started.stdout is not None
        pids = [int(pid) for pid in started.stdout.readline().split()]
        assert len(pids) == 3
        os.killpg(started.pid, how)
        try:
            said = started.communicate(timeout=120)[1].decode()
        finally:
            started.kill()
    # Of Ctrl-C that who started them tells where it was.
    assert said.count("Traceback") == (how == signal.SIGINT)
    assert "WorkerLostError" not in said
    until = time.monotonic() + 120
    while any(map(runs, pids)):
        assert time.monotonic() < until, "a process still runs"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_processes_that_cannot_start_are_told(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(WorkerLostError, match="slide reader: a process that reads slides has"):
        processes().__enter__()
    assert not children()


def test_nothing_stays_open(slides, tmp_path: Path) -> None:
    slides.pyramid(tmp_path / "a.tiff", slides.picture())
    before = open_files()
    with processes() as several:
        several.read_batch(several.opening(tmp_path / "a.tiff"), 0, CORNERS[:1])
        assert {kind(name) for _, name in open_files() - before} >= {"socket", "memory"}
    # The memory has a descriptor of its own as long as there is an array of it.
    del several
    # What other tests have left may be closed meanwhile, and threads of theirs may open something.
    assert not [name for _, name in open_files() - before if kind(name)]


def open_files() -> set[tuple[str, str]]:
    """Descriptors of this process, each with what it is: one closed and opened anew differs."""
    several = set()
    for each in Path("/proc/self/fd").iterdir():
        # The folder itself, which is open while it is listed, is gone.
        with contextlib.suppress(FileNotFoundError):
            several.add((each.name, str(each.readlink())))
    return several


def kind(name: str) -> str:
    """Return which of the things that reading processes open a descriptor is; else nothing."""
    begins = {"socket:": "socket", "/memfd:lamella-patches": "memory"}
    found = [each for begin, each in begins.items() if name.startswith(begin)]
    return "slide" if name.endswith("a.tiff") else "".join(found)

"""Files whose reading hangs or crashes cost themselves, and no other file."""

import gc
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamella.errors import DamagedFileError, StoreError
from lamella.fleet.guard import GuardedReader, report_life
from lamella.stores.shards import read_stored


def read(path: Path, more: str = "") -> str:
    """Return a text file; what stands in some of them happens to the reader."""
    text = path.read_text()
    if text == "circle":
        while True:
            pass
    if text == "long":
        for _ in range(30):
            _compute(0.1)
            report_life()
    if text == "late":
        time.sleep(2.5)
    if text == "refused":
        raise StoreError("it is refused", str(path), "Write another")
    if text.isdigit():
        os.kill(os.getpid(), int(text))
    return text + more


def _compute(seconds: float) -> None:
    end = os.times().user + seconds
    while os.times().user < end:
        pass


def write(folder: Path, text: str) -> Path:
    path = folder / f"{text}.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("circle", "did not end in 5 s of processor time"),
        (str(int(signal.SIGSEGV)), "crashed with SIGSEGV"),
        (str(int(signal.SIGABRT)), "crashed with SIGABRT"),
    ],
)
def test_a_file_that_ends_its_reader_is_damaged_and_the_next_one_is_read(
    tmp_path: Path, text: str, what: str
) -> None:
    with GuardedReader(read, 5) as reader:
        assert reader.read(write(tmp_path, "first"), "!") == "first!"
        with pytest.raises(DamagedFileError, match=what):
            reader.read(write(tmp_path, text))
        assert reader.read(write(tmp_path, "next")) == "next"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (str(int(signal.SIGSTOP)), "no answer from its file system in 5 s"),
        (str(int(signal.SIGKILL)), "out-of-memory"),
        ("refused", "it is refused"),
    ],
)
def test_what_says_nothing_about_the_file_does_not_call_it_damaged(
    tmp_path: Path, text: str, what: str
) -> None:
    with GuardedReader(read, 5) as reader:
        with pytest.raises(StoreError, match=what) as error:
            reader.read(write(tmp_path, text))
        assert not isinstance(error.value, DamagedFileError)
        assert reader.read(write(tmp_path, "next")) == "next"


def test_a_file_that_never_answers_is_no_damage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5")
    with (
        GuardedReader(read_stored, 1) as reader,
        pytest.raises(StoreError, match="no answer from its file system"),
    ):
        reader.read(tmp_path / "a.h5")


def test_a_long_reading_that_reports_life_may_exceed_the_limit(tmp_path: Path) -> None:
    with GuardedReader(read, 2) as reader:
        assert reader.read(write(tmp_path, "long")) == "long"


def test_modules_of_the_working_folder_are_not_taken_for_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "multiprocessing.py").write_text("raise RuntimeError('not mine')")
    monkeypatch.chdir(tmp_path)
    with GuardedReader(read, 5) as reader:
        assert reader.read(write(tmp_path, "first")) == "first"


@pytest.fixture
def starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the program that every Python runs when it starts."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "sitecustomize.py"


def test_a_slow_start_is_not_taken_for_a_file_system_that_is_away(
    tmp_path: Path, starting: Path
) -> None:
    starting.write_text("import time; time.sleep(4)")
    with GuardedReader(read, 3) as reader:
        assert reader.read(write(tmp_path, "first")) == "first"


def test_a_crash_at_the_start_calls_no_file_damaged(tmp_path: Path, starting: Path) -> None:
    starting.write_text("import os; os.kill(os.getpid(), 11)")
    with GuardedReader(read, 5) as reader:
        with pytest.raises(StoreError, match=r"first\.txt: .* was lost \(exit code -11\)") as error:
            reader.read(write(tmp_path, "first"))
        assert not isinstance(error.value, DamagedFileError)
        starting.unlink()
        assert reader.read(write(tmp_path, "next")) == "next"


@pytest.mark.parametrize(
    "seen",
    [itertools.repeat(("R", 34)), zip(itertools.repeat("S"), itertools.count(34))],
    ids=["the machine does not let it compute", "a tick of the clock each time"],
)
def test_who_computes_or_would_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Iterator[tuple[str, int]]
) -> None:
    monkeypatch.setattr("lamella.fleet.guard._state_and_ticks", lambda _: next(seen))
    with GuardedReader(read, 1) as reader:
        assert reader.read(write(tmp_path, "late")) == "late"


def test_a_reader_that_is_slow_to_end_is_reaped_when_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "a.h5")
    held: list[int] = []

    def wait_in_vain(process: "subprocess.Popen[bytes]", timeout: float = 0) -> None:
        held.append(process.pid)
        raise subprocess.TimeoutExpired("", timeout)

    with GuardedReader(read, 1) as reader:
        with monkeypatch.context() as patched:
            patched.setattr(subprocess.Popen, "wait", wait_in_vain)
            with pytest.raises(StoreError, match="no answer from its file system"):
                reader.read(tmp_path / "a.h5")
        gc.collect()
        # Waits for its end without reaping it.
        os.waitid(os.P_PID, held[0], os.WEXITED | os.WNOWAIT)
    assert not Path(f"/proc/{held[0]}").exists()

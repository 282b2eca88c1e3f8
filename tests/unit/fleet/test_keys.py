"""Keys of a stage lie where they may, and no longer than they must."""

import stat
import subprocess
import sys
from pathlib import Path

from lamella.fleet.keys import stage_keys


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob(".keys-*"))


def holding(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that has made keys and holds them until it is killed."""
    code = (
        "import sys; from pathlib import Path; from lamella.fleet.keys import stage_keys\n"
        "with stage_keys(Path(sys.argv[1])): print('made', flush=True); sys.stdin.read()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "made\n"
    return started


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_keys_are_for_the_user_alone_and_end_with_the_stage(tmp_path):
    with stage_keys(tmp_path) as keys:
        (folder,) = left_in(tmp_path)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert Path(keys.tls_worker_key).parent == folder
        assert "PRIVATE KEY" in Path(keys.tls_worker_key).read_text()
    assert left_in(tmp_path) == []


def test_keys_of_a_killed_stage_are_removed_by_the_next(tmp_path):
    end(holding(tmp_path))
    (left,) = left_in(tmp_path)
    with stage_keys(tmp_path):
        assert not left.exists()
        assert len(left_in(tmp_path)) == 1


def test_keys_of_a_living_stage_stay(tmp_path):
    other = holding(tmp_path)
    try:
        (held,) = left_in(tmp_path)
        with stage_keys(tmp_path):
            assert sorted(file.name for file in held.iterdir()) == ["ca", "cert", "key"]
        # It came second, and had others keep away from its keys, too.
        assert left_in(tmp_path) == [held]
    finally:
        end(other)


def test_keys_of_a_stage_that_came_second_stay_when_the_first_has_gone(tmp_path):
    first, second = holding(tmp_path), holding(tmp_path)
    end(first)
    try:
        with stage_keys(tmp_path):
            # Those of the first are left for a start at which nobody lives.
            assert len(left_in(tmp_path)) == 3
    finally:
        end(second)

"""Files appear complete or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from lamella.stores.atomic import remove_leftovers, replacing, write_text


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.tsv"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".tsv"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_failed_block_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_kept(
    tmp_path: Path,
) -> None:
    program = (
        "import os, signal, sys, pathlib\n"
        "from lamella.stores.atomic import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "a.h5"], check=False)
    [leftover] = tmp_path.iterdir()
    with replacing(tmp_path / "b.h5") as temporary:
        temporary.write_text("half")
        remove_leftovers(tmp_path)
        assert temporary.exists()
    assert not leftover.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]
    remove_leftovers(tmp_path / "none")

"""Slides that are copied to the node's own disk while they are read."""

import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamella.errors import SlideUnreadableError
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.slides.staging import staged

CONTENT = bytes(range(256)) * 1024
ENOUGH = len(CONTENT)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("LAMELLA_SCRATCH", str(folder))
    return folder


@contextmanager
def _no_large_file() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ENOUGH // 2, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def no_large_file() -> AbstractContextManager[None]:
    """Return a block in which no file becomes as large as half a slide."""
    return _no_large_file()


def slide(folder: Path, name: str = "a.svs") -> Path:
    path = folder / name
    path.write_bytes(CONTENT)
    return path


def test_slide_is_read_from_a_copy_of_its_name_that_is_gone_afterwards(tmp_path, scratch):
    with staged(slide(tmp_path), limit_bytes=ENOUGH) as path:
        assert path.is_relative_to(scratch)
        assert (path.name, path.read_bytes()) == ("a.svs", CONTENT)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mrxs", "a.vms", "a.dcm", "a.ome.tiff"])
def test_format_of_several_files_is_read_where_it_is(tmp_path, scratch, caplog, name):
    path = slide(tmp_path, name)
    with staged(path, limit_bytes=ENOUGH) as found:
        assert found == path
    assert "its format may have several files" in caplog.text


def test_slide_above_the_limit_is_read_where_it_is(tmp_path, scratch, caplog):
    path = slide(tmp_path)
    with staged(path, limit_bytes=ENOUGH - 1) as found:
        assert found == path
    assert "`fleet.stage_gib`" in caplog.text
    assert list(scratch.iterdir()) == []


def test_slide_for_which_there_is_no_room_is_read_where_it_is(
    tmp_path, scratch, caplog, no_large_file
):
    path = slide(tmp_path)
    # It has holes, and takes no room itself.
    os.truncate(path, shutil.disk_usage(scratch).free + 64 * 2**30)
    with no_large_file, staged(path, limit_bytes=path.stat().st_size) as found:
        assert found == path
    assert re.search(
        rf"{path} is read where it is: it has .* GiB, and .* GiB are free", caplog.text
    )
    assert list(scratch.iterdir()) == []


def test_scratch_in_which_no_folder_can_be_made_leaves_the_slide_where_it_is(
    tmp_path, scratch, caplog
):
    path = slide(tmp_path)
    scratch.rmdir()
    with staged(path, limit_bytes=ENOUGH) as found:
        assert found == path
    assert f"{path} is read where it is: the copy failed: No such file" in caplog.text


def test_without_staging_nothing_is_copied_or_said(tmp_path, scratch, caplog):
    with staged(slide(tmp_path), limit_bytes=0) as found:
        assert found == tmp_path / "a.svs"
    assert caplog.text == ""


def test_copy_that_breaks_off_half_way_is_removed_and_the_slide_read_where_it_is(
    tmp_path, scratch, caplog, no_large_file
):
    path = slide(tmp_path)
    with no_large_file, staged(path, limit_bytes=ENOUGH) as found:
        assert found == path
        assert [each for each in scratch.rglob("*") if each.is_file()] == []
    assert "the copy failed: File too large" in caplog.text


def test_error_names_the_slide_and_not_its_copy(tmp_path, scratch):
    path = slide(tmp_path)
    with (
        pytest.raises(SlideUnreadableError) as raised,
        staged(path, limit_bytes=ENOUGH) as copy,
    ):
        raise SlideUnreadableError("it is torn", f"{copy}: tile 7", "Copy it anew")
    assert raised.value.where == f"{path}: tile 7"
    assert list(scratch.iterdir()) == []


def test_pixels_come_from_the_copy_and_the_reader_names_the_slide(tmp_path):
    original, copy = tmp_path / "original.png", tmp_path / "copy.png"
    Image.new("RGB", (80, 40), (1, 2, 3)).save(original)
    Image.new("RGB", (80, 40), (7, 8, 9)).save(copy)
    with SlideReader(original, DEFAULT_READING, mpp=1.0, copy=copy) as reader:
        assert reader.path == original
        plan = reader.plan(mpp=1.0, size_px=20)
        assert np.unique(reader.read_patch(0, 0, plan)).tolist() == [7, 8, 9]

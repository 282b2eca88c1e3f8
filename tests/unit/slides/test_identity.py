"""A slide file is recognised by content, not by path or time."""

import os
from pathlib import Path

import pytest

from lamella.errors import SlideUnreadableError
from lamella.slides.identity import (
    content_identities,
    file_identity,
    files_state,
    slide_identities,
    slide_identity,
)


def test_copy_elsewhere_has_the_same_identity_and_any_sampled_change_another(
    tmp_path: Path,
) -> None:
    content = bytearray(os.urandom(500_000))
    original, copy = tmp_path / "a.svs", tmp_path / "b.tiff"
    original.write_bytes(content)
    copy.write_bytes(content)
    os.utime(copy, (1, 1))
    assert slide_identity(original) == slide_identity(copy)
    for place in (0, 250_000 // 4096 * 4096, 499_999):
        changed = bytearray(content)
        changed[place : place + 20_000] = bytes(len(changed[place : place + 20_000]))
        copy.write_bytes(changed)
        assert slide_identity(original) != slide_identity(copy)
    copy.write_bytes(content + b"x")
    assert slide_identity(original) != slide_identity(copy)


def test_unreadable_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    good, bad = slide_identities([tmp_path / "a", tmp_path / "none"])
    assert isinstance(good, str)
    assert isinstance(bad, SlideUnreadableError)
    with pytest.raises(SlideUnreadableError, match="No such file"):
        slide_identity(tmp_path / "none")


def test_state_of_files_changes_with_any_of_them(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    states = [files_state([a, b])]
    b.write_bytes(b"1")
    states.append(files_state([a, b]))
    os.utime(b, (1, 1))
    states.append(files_state([a, b]))
    assert len(set(states)) == 3
    assert files_state([a, b]) == states[-1]


def test_small_files_are_hashed_whole(tmp_path: Path) -> None:
    content = bytearray(os.urandom(500_000))
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    before = file_identity(path), slide_identity(path)
    content[50_000] ^= 1
    path.write_bytes(content)
    assert file_identity(path) != before[0]
    assert slide_identity(path) == before[1]


def test_mirax_slides_are_told_apart_by_their_folder_not_by_the_picture_beside_it(
    tmp_path: Path,
) -> None:
    for name, described in (("a", "SLIDE_ID = 1"), ("b", "SLIDE_ID = 2"), ("copy", "SLIDE_ID = 1")):
        (tmp_path / f"{name}.mrxs").write_bytes(b"a picture for all")
        (tmp_path / name).mkdir()
        (tmp_path / name / "Slidedat.ini").write_text(described)
    (tmp_path / "b.svs").write_bytes(b"a picture for all")
    paths = [tmp_path / name for name in ("a.mrxs", "b.mrxs", "copy.mrxs", "b.svs")]
    a, b, copy, single = content_identities(paths)
    assert a == copy
    assert len({a, b, single}) == 3
    assert single == slide_identity(tmp_path / "b.svs")

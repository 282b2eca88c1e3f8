"""Slides that moved get their new places, and nothing else in the table changes."""

from pathlib import Path

import pytest

from lamella.cohort.relocate import relocate_slides
from lamella.errors import CohortErrors


def place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"slide")
    return path


def test_missing_files_get_their_new_place_and_the_rest_stays(tmp_path: Path) -> None:
    here = place(tmp_path / "here.svs")
    new = place(tmp_path / "new" / "a" / "one.svs")
    outline = place(tmp_path / "new" / "xml" / "one.xml")
    table = tmp_path / "slides.tsv"
    table.write_text(
        "# my study\nslide\tnote\tpath\tannotation\n"
        f"one\t keep me \t/old/a/one.svs\t/old/xml/one.xml\ntwo\t\t{here}\t\n"
    )
    assert relocate_slides(table, tmp_path / "new") == [
        ("/old/a/one.svs", str(new)),
        ("/old/xml/one.xml", str(outline)),
    ]
    assert table.read_text() == (
        "# my study\nslide\tnote\tpath\tannotation\n"
        f"one\t keep me \t{new}\t{outline}\ntwo\t\t{here}\t\n"
    )
    assert relocate_slides(table, tmp_path / "new") == []


def test_of_files_with_one_name_the_one_in_the_same_folders_is_taken(tmp_path: Path) -> None:
    place(tmp_path / "new" / "centre0" / "slide.tif")
    right = place(tmp_path / "new" / "centre1" / "slide.tif")
    table = tmp_path / "slides.tsv"
    table.write_text("slide\tpath\r\none\t/old/centre1/slide.tif\r\n", newline="")
    assert relocate_slides(table, tmp_path) == [("/old/centre1/slide.tif", str(right))]
    assert table.read_bytes() == f"slide\tpath\r\none\t{right}\r\n".encode()


def test_one_file_is_never_taken_for_two(tmp_path: Path) -> None:
    place(tmp_path / "new" / "b" / "tumor.xml")
    table = tmp_path / "slides.tsv"
    text = "slide\tpath\n1\t/old/a/tumor.xml\n2\t/old/b/tumor.xml\n"
    table.write_text(text)
    with pytest.raises(CohortErrors, match="another row of that file name"):
        relocate_slides(table, tmp_path / "new")
    assert table.read_text() == text


def test_drawn_masks_move_too(tmp_path: Path) -> None:
    new = place(tmp_path / "new" / "mask.png")
    table = tmp_path / "slides.tsv"
    table.write_text("slide\tpath\tmask\n1\t" + str(new) + "\t/old/mask.png\n")
    assert relocate_slides(table, tmp_path / "new") == [("/old/mask.png", str(new))]


def test_unclear_and_lost_files_are_all_named_and_the_table_is_left_alone(tmp_path: Path) -> None:
    place(tmp_path / "new" / "a" / "twice.svs")
    place(tmp_path / "new" / "b" / "twice.svs")
    place(tmp_path / "new" / "a" / "found.svs")
    table = tmp_path / "slides.tsv"
    text = "slide\tpath\n1\t/old/twice.svs\n2\t/old/found.svs\n3\t/old/lost.svs\n"
    table.write_text(text)
    with pytest.raises(CohortErrors) as caught:
        relocate_slides(table, tmp_path / "new")
    first, second = str(caught.value).splitlines()
    assert "slides.tsv:2" in first
    assert "may be any of" in first
    assert "slides.tsv:4" in second
    assert "lost.svs" in second
    assert table.read_text() == text

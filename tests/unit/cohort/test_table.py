"""The slide table: every fault by file and line."""

from pathlib import Path

import pytest

from lamella.cohort.check import check_cohort
from lamella.cohort.settings import Split
from lamella.cohort.table import read_slides, write_slides
from lamella.errors import CohortErrors


def table(folder: Path, *lines: str) -> Path:
    path = folder / "slides.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def messages(path: Path) -> list[str]:
    with pytest.raises(CohortErrors) as caught:
        read_slides(path)
    return str(caught.value).splitlines()


def test_rows_keep_their_own_columns_and_paths_start_at_the_table(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "# made by hand",
        "slide\tpath\tpatient\tlabel\tannotation\tcentre\tsplit\tmpp\tgrade",
        "",
        "a-1\tscans/a 1.svs\tp1\ttumor\tmarks/a.xml\tnorth\ttest\t0.25\tG2",
        "b\t/data/b.svs\t\t\t\t\t\t\t",
    )
    a, b = read_slides(path)
    assert a.path == tmp_path / "scans/a 1.svs"
    assert a.annotation == tmp_path / "marks/a.xml"
    assert (a.patient, a.split, a.mpp, a.value("grade"), a.line) == (
        "p1",
        Split.TEST,
        0.25,
        "G2",
        4,
    )
    assert (b.patient, b.split, b.mpp, b.annotation) == ("b", None, None, None)
    write_slides(tmp_path / "out" / "slides.tsv", [a, b])
    again = read_slides(tmp_path / "out" / "slides.tsv")
    assert [slide.value("grade") for slide in again] == ["G2", ""]
    assert again[0].path == a.path


def test_column_in_another_case_is_not_taken_for_the_user_s_own(tmp_path: Path) -> None:
    path = table(tmp_path, "slide\tpath\tPatient\tGrade", "a\ta.svs\tp1\tG2")
    (message,) = messages(path)
    assert message.endswith(":1: column 'Patient' is written differently. Write 'patient'.")


def test_all_faults_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "slide\tpath\tsplit\tmpp",
        "a\ta.svs\t\t",
        "b\tb.svs\t",
        "../c\tc.svs\t\t",
        "d\t\ttrains\t0,25",
        "A\tother.svs\t\t",
    )
    found = messages(path)
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in found] == [
        "3",
        "4",
        "5",
        "5",
        "5",
        "6",
    ]
    assert "3 cells, but the header has 4" in found[0]
    assert "'../c' is not usable" in found[1]
    assert "the path is empty" in found[2]
    assert "unknown split 'trains'" in found[3]
    assert "mpp '0,25'" in found[4]
    assert "slide 'A' stands already in line 2" in found[5]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "the table is empty"),
        (["slide\tfile"], "column 'path' is missing"),
        (["slide path"], "found none"),
        (["slide\tpath\tpath", "a\tb\tc"], "column 'path' stands twice"),
        (["slide\tpath"], "the table has no slides"),
    ],
)
def test_a_table_without_the_needed_columns_is_refused(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    assert message in messages(table(tmp_path, *lines))[0]


def test_missing_table_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in messages(tmp_path / "none.tsv")[0]


def test_check_names_all_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    path = table(
        tmp_path, "slide\tpath\tannotation", "a\ta.svs\tno.xml", "b\tno.svs\t", "c\ta.svs\t"
    )
    with pytest.raises(CohortErrors) as caught:
        check_cohort(table=path, output=tmp_path / "out.tsv")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{path}:2", f"{path}:3"]
    assert "annotation file" in lines[0]
    assert "slide file" in lines[1]
    assert not (tmp_path / "out.tsv").exists()


def test_only_the_lines_above_the_header_are_comments(tmp_path: Path) -> None:
    path = table(tmp_path, "# note", "label\tslide\tpath", "#1\ta\ta.svs", "\x0b2\tb\tb.svs")
    assert [slide.label for slide in read_slides(path)] == ["#1", "2"]


def test_table_of_another_system_is_read(tmp_path: Path) -> None:
    path = tmp_path / "slides.tsv"
    path.write_bytes(b"\xef\xbb\xbfslide\tpath\r\na\tscans/\xc3\xa4 1.svs\r\n")
    assert read_slides(path)[0].path == tmp_path / "scans/ä 1.svs"


def test_path_that_cannot_even_be_looked_up_has_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, "slide\tpath", f"a\t{'x' * 300}.svs")
    with pytest.raises(CohortErrors, match=r"slides\.tsv:2: .*File name too long"):
        check_cohort(table=path, output=tmp_path / "out.tsv")


def test_mask_is_a_path_of_the_table_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    path = table(tmp_path, "slide\tpath\tmask", "a\ta.svs\tdrawn/a.png", "b\ta.svs\t")
    slides = read_slides(path)
    assert [slide.mask for slide in slides] == [tmp_path / "drawn/a.png", None]
    with pytest.raises(CohortErrors, match=r"slides\.tsv:2: the mask file .*a\.png of 'a'"):
        check_cohort(table=path, output=tmp_path / "out.tsv")
    write_slides(tmp_path / "out.tsv", slides)
    assert [slide.mask for slide in read_slides(tmp_path / "out.tsv")] == [
        tmp_path / "drawn/a.png",
        None,
    ]


def test_slide_that_is_copied_to_another_patient_is_refused_by_line(tmp_path: Path) -> None:
    for name, content in (("a.svs", b"1"), ("b.svs", b"2"), ("renamed.tiff", b"1")):
        (tmp_path / name).write_bytes(content)
    path = table(
        tmp_path,
        "slide\tpath\tpatient",
        "one\ta.svs\tp1",
        "two\tb.svs\tp2",
        "three\trenamed.tiff\tp3",
        "four\tb.svs\tp4",
    )
    with pytest.raises(CohortErrors) as caught:
        check_cohort(table=path, output=tmp_path / "out.tsv")
    assert str(caught.value).splitlines() == [
        f"{path}:4: slide 'three' of patient 'p3' has the same content as 'one' of patient 'p1' "
        "in line 2. Remove one of the rows, or give both the same patient.",
        f"{path}:5: slide 'four' of patient 'p4' has the same content as 'two' of patient 'p2' "
        "in line 3. Remove one of the rows, or give both the same patient.",
    ]
    assert not (tmp_path / "out.tsv").exists()


def test_slide_that_stands_twice_under_one_patient_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.svs").write_bytes(b"1")
    path = table(tmp_path, "slide\tpath\tpatient", "one\ta.svs\tp1", "two\ta.svs\tp1")
    check_cohort(table=path, output=tmp_path / "out.tsv")
    assert "one and two are one file: it counts twice" in caplog.text
    assert len(read_slides(tmp_path / "out.tsv")) == 2


def test_slide_that_cannot_be_read_is_no_fault_of_the_table(tmp_path: Path) -> None:
    for name in ("folder.svs", "other.svs"):
        (tmp_path / name).mkdir()
    path = table(tmp_path, "slide\tpath", "a\tfolder.svs", "b\tother.svs")
    check_cohort(table=path, output=tmp_path / "out.tsv")
    assert len(read_slides(tmp_path / "out.tsv")) == 2


def test_slides_whose_copying_left_nothing_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).touch()
    for name in ("c.mrxs", "d.mrxs"):
        (tmp_path / name).write_bytes(b"a picture for all, and no folder beside it")
    files = ("a.svs", "b.svs", "c.mrxs", "d.mrxs")
    path = table(tmp_path, "slide\tpath", *(f"{name[0]}\t{name}" for name in files))
    check_cohort(table=path, output=tmp_path / "out.tsv")
    assert len(read_slides(tmp_path / "out.tsv")) == 4

import logging
import signal
import subprocess
import sys

import openslide
import pytest

from lamella.drawing.cohort import draw_cohort, plan_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.stores.tables import read_table

SETTINGS = DrawingSettings(
    slides=5, slides_per_patient=2, width_um=300, height_um=220, pen_share=1.0, seed=3
)


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*")}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    draw_cohort(folder, SETTINGS)
    return folder


def test_the_table_names_every_slide_with_paths_relative_to_it(cohort):
    rows = read_table(cohort / "slides.tsv")
    assert [list(row.values()) for row in rows] == [
        [
            "slide-001",
            "slides/slide-001.svs",
            "patient-001",
            "tumor",
            "annotations/slide-001.xml",
            "centre-1",
        ],
        [
            "slide-002",
            "slides/slide-002.svs",
            "patient-001",
            "tumor",
            "annotations/slide-002.xml",
            "centre-1",
        ],
        ["slide-003", "slides/slide-003.scn", "patient-002", "normal", "", "centre-2"],
        ["slide-004", "slides/slide-004.scn", "patient-002", "normal", "", "centre-2"],
        ["slide-005", "slides/slide-005.svs", "patient-003", "normal", "", "centre-1"],
    ]
    assert list(rows[0]) == ["slide", "path", "patient", "label", "annotation", "centre"]
    assert sorted(contents(cohort)) == sorted(
        ["slides.tsv"]
        + [row["path"] for row in rows]
        + [row["annotation"] for row in rows if row["annotation"]]
    )


def test_openslide_reads_every_slide(cohort):
    vendors = []
    for row in read_table(cohort / "slides.tsv"):
        with openslide.OpenSlide(cohort / row["path"]) as slide:
            vendors.append(slide.properties["openslide.vendor"])
    assert vendors == ["aperio", "aperio", "leica", "leica", "aperio"]


def test_drawing_again_draws_nothing(cohort, caplog):
    before = times(cohort)
    with caplog.at_level(logging.INFO):
        draw_cohort(cohort, SETTINGS)
    assert times(cohort) == before
    assert caplog.messages == [f"0 of 5 slides to draw in {cohort}"]


def test_more_slides_cost_only_the_new_ones_and_log_a_line_each(cohort, caplog):
    before = times(cohort)
    with caplog.at_level(logging.INFO):
        draw_cohort(cohort, SETTINGS.model_copy(update={"slides": 6}))
    assert {name: t for name, t in times(cohort).items() if name in before} == before
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("drew slides/slide-006.svs: normal, 1.1 megapixels, ")
    assert caplog.messages[1].endswith(" s (1 of 1)")


def test_a_damaged_file_and_other_settings_are_drawn_anew(tmp_path):
    settings = SETTINGS.model_copy(update={"slides": 2})
    draw_cohort(tmp_path, settings)
    first = contents(tmp_path)
    (tmp_path / "slides/slide-001.svs").write_bytes(b"II*\0 no slide")
    (tmp_path / "slides/slide-002.svs").write_bytes(b"")
    draw_cohort(tmp_path, settings)
    assert contents(tmp_path) == first
    draw_cohort(tmp_path, settings.model_copy(update={"seed": 4}))
    assert not {*contents(tmp_path).values()} & {
        first["slides/slide-001.svs"],
        first["annotations/slide-001.xml"],
    }


def test_two_processes_draw_the_same(cohort, tmp_path):
    draw_cohort(tmp_path, SETTINGS.model_copy(update={"slides": 3, "processes": 2}))
    expected = contents(cohort)
    drawn = contents(tmp_path)
    assert len(drawn) == 6
    assert all(expected[name] == drawn[name] for name in drawn if name != "slides.tsv")


DRAWS_ONE_SLIDE = """
import sys, time
from pathlib import Path
from lamella.drawing import cohort
from lamella.drawing.settings import DrawingSettings

draw_one = cohort._draw_one

def draw_one_and_wait(folder, slide):
    draw_one(folder, slide)
    print("drawn", flush=True)
    time.sleep(3600)

cohort._draw_one = draw_one_and_wait
cohort.draw_cohort(Path(sys.argv[1]), DrawingSettings.model_validate_json(sys.argv[2]))
"""


def test_a_killed_run_goes_on_where_it_stopped(cohort, tmp_path):
    command = [sys.executable, "-c", DRAWS_ONE_SLIDE, str(tmp_path), SETTINGS.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        try:
            assert run.stdout.readline() == b"drawn\n"
        finally:
            run.kill()
    assert run.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "slides").glob("[!.]*")] == ["slide-001.svs"]
    assert not (tmp_path / "slides.tsv").exists()
    before = times(tmp_path)
    draw_cohort(tmp_path, SETTINGS)
    assert times(tmp_path)["slide-001.svs"] == before["slide-001.svs"]
    expected = {n: b for n, b in contents(cohort).items() if n in contents(tmp_path)}
    assert len(expected) == 8
    assert {n: b for n, b in contents(tmp_path).items() if n != "slides.tsv"} == {
        n: b for n, b in expected.items() if n != "slides.tsv"
    }


def test_each_centre_has_patients_with_and_without_tumour():
    settings = DrawingSettings(slides=48, slides_per_patient=2, centres=2, tumor_share=0.5)
    seen = {}
    for slide in plan_cohort(settings):
        seen.setdefault(slide.centre, {})[slide.patient] = slide.label
    assert {centre: sorted(labels.values()) for centre, labels in seen.items()} == {
        "centre-1": ["normal"] * 6 + ["tumor"] * 6,
        "centre-2": ["normal"] * 6 + ["tumor"] * 6,
    }


@pytest.mark.parametrize(("share", "tumors"), [(0.0, 0), (0.25, 5), (1.0, 20)])
def test_the_share_of_patients_with_tumour_is_the_one_asked_for(share, tumors):
    settings = DrawingSettings(slides=20, slides_per_patient=1, tumor_share=share)
    slides = plan_cohort(settings)
    assert sum(slide.spec.tumor for slide in slides) == tumors
    assert len({slide.spec.seed for slide in slides}) == 20


def test_artefacts_come_with_their_probability():
    slides = plan_cohort(DrawingSettings(slides=400, pen_share=0.0, fold_share=0.3, blur_share=1.0))
    assert sum(slide.spec.pen for slide in slides) == 0
    assert sum(slide.spec.fold for slide in slides) == pytest.approx(120, abs=30)
    assert sum(slide.spec.blur for slide in slides) == 400

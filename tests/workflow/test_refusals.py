"""A wrong setting or row is refused before any job is planned: file, line, remedy, no traceback."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def refusal(workplace):
    answer = workplace.snakemake("--dry-run")
    assert answer.returncode == 1
    assert answer.jobs == {}
    assert "Traceback" not in answer.text
    return answer.text


@pytest.mark.parametrize(
    ("settings", "where", "remedy"),
    [
        ({"study": "x", "tisue": {"mpp": 8.0}}, "config/config.yaml:2: tisue", "'tissue'"),
        ({"patches": {"size_pixel": 96}}, "config/config.yaml:2: patches.size_pixel", "'size_px'"),
        ({"patches": {"mpp": -0.5}}, "config/config.yaml:2: patches.mpp", "config/README.md"),
        ({"training": {"use": ["absent"]}}, "config/config.yaml:1: training", "absent"),
    ],
    ids=["section", "setting", "value", "run"],
)
def test_wrong_setting_is_refused_with_file_line_and_remedy(workplace, settings, where, remedy):
    workplace.write_config(settings)
    text = refusal(workplace)
    assert where in text
    assert remedy in text


def test_all_wrong_settings_are_named_at_once(workplace):
    workplace.write_config({"patches": {"mpp": -1}, "tissue": {"mpp": -1}})
    text = refusal(workplace)
    assert "config/config.yaml:2: patches.mpp" in text
    assert "config/config.yaml:4: tissue.mpp" in text


def test_wrong_setting_of_an_added_config_file_is_refused_by_that_file(workplace):
    workplace.write_config({"patches": {"mpp": 0.5}})
    added = workplace.write_config({"patches": {"mpp": -1}}, "added.yaml")
    answer = workplace.snakemake("--dry-run", "--configfile", added)
    assert answer.returncode == 1
    assert f"{added}:2: patches.mpp" in answer.text


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["slide\tpath", "a\ta.tiff", "b"], "config/slides.tsv:3"),
        (["slide\tpath", "a\ta.tiff", "a\tb.tiff"], "config/slides.tsv:3"),
        (["slide\tpath", "a b\ta.tiff"], "config/slides.tsv:2"),
        (["slide\tfile", "a\ta.tiff"], "config/slides.tsv:1"),
        (["slide\tpath\tmpp", "a\ta.tiff\tfine"], "config/slides.tsv:2"),
        (["slide\tpath\tsplit", "a\ta.tiff\ttraining"], "config/slides.tsv:2"),
    ],
    ids=["cells", "duplicate", "name", "column", "mpp", "split"],
)
def test_wrong_row_is_refused_with_file_and_line(workplace, lines, where):
    workplace.write_table(*lines)
    assert where in refusal(workplace)


def test_centre_that_no_slide_has_is_refused_before_any_job(workplace):
    workplace.write_table("slide\tpath\tcentre", "a\ta.tiff\tnorth", "b\tb.tiff\tsouth")
    workplace.write_config({"split": {"method": "leave-one-centre-out", "centre": "west"}})
    assert "split.centre: no slide is of centre 'west'. Use north, south." in refusal(workplace)


def test_missing_table_is_refused(workplace):
    (workplace.folder / "config" / "slides.tsv").unlink()
    assert "config/slides.tsv" in refusal(workplace)


def test_missing_slides_are_all_named_before_any_other_job(workplace):
    answer = workplace.snakemake("results/masks/manifest.tsv")
    assert answer.returncode == 1
    log = (workplace.folder / "results/logs/check_cohort.log").read_text()
    for line, slide in enumerate(["slide0", "slide1", "slide2"], start=2):
        assert f"slides.tsv:{line}: the slide file" in log
        assert repr(slide) in log
    assert "Traceback" not in log
    assert not (workplace.folder / "results/logs/segment_tissue.log").exists()


def test_too_many_failed_slides_fail_the_run_and_leave_their_table(workplace):
    plan = workplace.snakemake("--dry-run", "results/failures.checked").text
    inputs = re.search(r"^rule check_failures:\n    input: (.*)$", plan, re.MULTILINE)[1]
    for name in inputs.split(", "):
        path = workplace.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "slide\tstatus\tpath\tn\tfingerprint\terror\tstage\n"
            "slide0\tdone\tslides/slide0.h5\t3\tabc\t\t\n"
            "slide1\tfailed\t\t0\t\tno reader opens it\tsegment_tissue\n"
        )
    answer = workplace.snakemake(
        "--allowed-rules", "check_failures", "--", "results/failures.checked"
    )
    assert answer.returncode == 1
    assert "1 of 2 slides failed" in answer.text
    assert "Traceback" not in answer.text
    table = workplace.folder / "results" / "failures.tsv"
    assert table.read_text() == (
        "slide\tstage\terror\nslide1\tsegment_tissue\tno reader opens it\n"
    )


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_cluster_without_a_site_is_refused_before_any_job(workplace, words):
    answer = workplace.snakemake(*words, profile=REPOSITORY / "profiles" / "slurm")
    assert answer.returncode != 0
    assert "config/site.yaml: site.partition is not there" in answer.text
    assert "lamella doctor --slurm" in answer.text
    assert "rule check_cohort" not in answer.text


def test_worker_jobs_without_a_site_are_refused_also_where_all_else_runs_here(workplace):
    answer = workplace.snakemake("--dry-run", "--config", "fleet={cluster: slurm}")
    assert answer.returncode != 0
    assert "config/site.yaml: site.partition is not there" in answer.text


def test_wrong_name_in_the_site_is_refused_by_its_file(workplace):
    workplace.write_config({"site": {"partitions": "cpu"}}, "site.yaml")
    answer = workplace.snakemake("--dry-run")
    assert "config/site.yaml:2: site.partitions: there is no such setting" in answer.text

"""The page's section on jobs, which is renewed at the end of a run."""

import os
from dataclasses import replace

import pytest

from lamella.report.build import build_report
from lamella.report.costs import tell_costs
from lamella.report.jobs import jobs_html, renew_jobs
from lamella.slurm.cost_table import JOBS_TABLE, JobCost, write_costs
from lamella.slurm.jobs import Attempt, Source

GOOD = Attempt(
    number="5",
    name="lamella_u1",
    comment="",
    folder="/study",
    state="COMPLETED",
    ended_by="",
    exit_code="0:0",
    submitted_s=1795649066.0,
    ended_s=1795652666.0,
    wall_s=3600.0,
    limit_s=7200.0,
    nodes="cpu[1-2]",
    node_count=2,
    cores=8,
    cpu_s=3600.0 * 6,
    max_rss_mib=1000.0,
    asked_mib=4000.0,
    gpus=1,
    source=Source.ACCOUNTING,
    measured=Source.ACCOUNTING,
)
FAILED = replace(GOOD, number="4", state="FAILED", submitted_s=1795640000.0, gpus=0)
COSTS = [
    JobCost("train_model", "thin_1", FAILED, "<torn> & bent"),
    JobCost("train_model", "thin_1", GOOD, attempt=2),
]


@pytest.fixture
def page(small_run):
    build_report(small_run.inputs, small_run.page, study="s", settings={})
    return small_run.page


def test_page_without_jobs_says_so(page):
    assert "No SLURM job is known" in page.read_text()


def test_page_shows_the_jobs_that_are_known_when_it_is_made(small_run):
    write_costs(small_run.inputs.results / JOBS_TABLE, COSTS)
    build_report(small_run.inputs, small_run.page, study="s", settings={})
    text = small_run.page.read_text()
    assert "cpu[1-2]" in text
    assert "&lt;torn&gt; &amp; bent" in text


def test_renewed_section_replaces_the_former_one_and_nothing_else(page):
    before = page.read_text()
    os.utime(page, ns=(1, 1_700_000_000_123_456_789))
    assert renew_jobs(page, COSTS)
    after = page.read_text()
    assert after.count('<section id="jobs">') == 1
    assert after.replace(jobs_html(COSTS), "") == before.replace(jobs_html([]), "")
    # Snakemake goes by it.
    assert page.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert renew_jobs(page, COSTS)
    assert page.read_text() == after


def test_section_tells_rule_node_memory_hours_and_the_hint():
    html = jobs_html(COSTS)
    for told in (">train_model<", ">thin_1<", ">4<", ">5<", ">75 %<", ">1000<", ">4000<"):
        assert told in html.replace("</span> 75 %</td>", ">75 %<")
    assert ">4.00<" in html
    assert "4000 MiB asked for on a node, 1000 used at most" in html
    assert "Said by sacct" in html


def test_failed_attempts_have_a_row_even_where_there_are_too_many_jobs():
    many = [COSTS[0], *(JobCost("a", "", replace(GOOD, number=str(n))) for n in range(30, 40))]
    html = jobs_html(many, most=3)
    assert "8 further attempts are left out" in html
    assert [number for number in ("4", "30", "37", "38", "39") if f">{number}</td>" in html] == [
        "4",
        "38",
        "39",
    ]


def test_figures_that_are_not_known_are_dashes():
    unknown = replace(
        GOOD,
        cpu_s=None,
        max_rss_mib=None,
        asked_mib=None,
        limit_s=None,
        gpus=None,
        source=Source.LOG,
    )
    assert jobs_html([JobCost("a", "", unknown)]).count(">–<") == 10


def test_there_may_be_no_page(tmp_path):
    assert not renew_jobs(tmp_path / "index.html", COSTS)
    assert tell_costs(tmp_path) == []

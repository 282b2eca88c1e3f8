"""What the SLURM jobs cost: a section of the page that is renewed when all of them have ended."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from lamella.charts import bar
from lamella.report.template import template
from lamella.slurm.cost_table import JobCost
from lamella.slurm.rule_costs import by_rule, known_sum
from lamella.stores.atomic import write_text

PAGE = Path("report/index.html")
"""The page, below the results folder."""

MOST_JOBS = 500
"""More rows would make the page slow to open; the table has all."""

_SECTION = re.compile(r'<section id="jobs">.*?</section>', re.DOTALL)


def jobs_html(costs: Sequence[JobCost], *, most: int = MOST_JOBS) -> str:
    """Return the section, HTML.

    Args:
        costs: All attempts, oldest first; may be empty.
        most: Most attempts that have a row: failed ones first, then the youngest.
    """
    by_worth = sorted(enumerate(costs), key=lambda item: (not item[1].is_failed, -item[0]))[:most]
    shown = [cost for _, cost in sorted(by_worth, key=lambda item: item[0])]
    rules = by_rule(costs)
    return template("jobs.html").render(
        rules=rules,
        gpu_hours=known_sum(rule.gpu_hours for rule in rules),
        shown=shown,
        left_out=len(costs) - len(shown),
        sources=_sources(costs),
        bar=bar,
    )


def renew_jobs(page: Path, costs: Sequence[JobCost]) -> bool:
    """Put another section on jobs into a page, which keeps its time of change.

    Returns:
        Whether there is such a page.
    """
    if not page.exists():
        return False
    text, times = page.read_text(encoding="utf-8"), page.stat()
    html = jobs_html(costs)
    renewed = _SECTION.sub(lambda _: html, text, count=1)
    if renewed != text:
        write_text(page, renewed)
        # Else Snakemake would take what rests on the page for outdated.
        os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))
    return True


def _sources(costs: Sequence[JobCost]) -> str:
    return ", ".join(dict.fromkeys(str(cost.job.source) for cost in costs))

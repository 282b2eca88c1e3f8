"""Show the whole run on one page."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lamella.charts import bar
from lamella.patches.index import read_index
from lamella.report.cohort import cohort_section
from lamella.report.engines import (
    benchmark_conditions,
    benchmark_remarks,
    benchmark_section,
    parity_section,
    scenario_section,
    workload_section,
)
from lamella.report.explanations import explanation_section
from lamella.report.facts import PLACES, flat, versions
from lamella.report.inputs import ReportInputs
from lamella.report.jobs import jobs_html
from lamella.report.predictions import prediction_section
from lamella.report.template import own_file, template
from lamella.report.training import training_section
from lamella.slurm.cost_table import read_costs
from lamella.stores.atomic import write_text

logger = logging.getLogger(__name__)


def build_report(
    inputs: ReportInputs, page: Path, *, study: str, settings: Mapping[str, Any]
) -> None:
    """Write one HTML file that shows everything and needs no other file and no network.

    Equal inputs give an equal page.

    Args:
        inputs: The tables of all layers.
        page: The page; it links to the files that it shows, which works while it stays in
            ``results/report``.
        study: Name of the study.
        settings: All settings, plain values, shown as they are.
    """
    index = read_index(inputs.index)
    benchmark = benchmark_section(inputs.benchmark)
    text = template("page.html").render(
        study=study,
        style=Markup(own_file("page.css")),  # noqa: S704 - our own file
        cohort=cohort_section(inputs, index),
        runs=training_section(inputs.metrics, inputs.summary),
        parity=parity_section(inputs.parity),
        benchmark=benchmark,
        remarks=benchmark_remarks(benchmark),
        conditions=benchmark_conditions(benchmark),
        scenarios=scenario_section(inputs.scenarios),
        workloads=workload_section(inputs.workloads),
        predictions=prediction_section(inputs.scores, page),
        explanations=explanation_section(inputs.explanations),
        jobs=Markup(jobs_html(read_costs(inputs.results))),  # noqa: S704 - escaped already
        settings=list(flat(settings)),
        versions=versions(),
        places=PLACES,
        bar=bar,
    )
    write_text(page, text)
    logger.info("%s: %.1f MiB", page, page.stat().st_size / 2**20)

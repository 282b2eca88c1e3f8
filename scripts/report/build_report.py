"""Show the whole run on one page."""

from pathlib import Path

from lamella.logs import start_job_log
from lamella.report.build import build_report
from lamella.report.inputs import ReportInputs

if __name__ == "__main__":
    start_job_log(snakemake.log[0])
    build_report(
        inputs=ReportInputs(
            slides=Path(snakemake.input.slides),
            splits=Path(snakemake.input.splits),
            masks=Path(snakemake.input.masks),
            quality=Path(snakemake.input.quality),
            patches=Path(snakemake.input.patches),
            index=Path(snakemake.input.index),
            summary=Path(snakemake.input.summary),
            metrics=[Path(path) for path in snakemake.input.metrics],
            parity=[Path(path) for path in snakemake.input.parity],
            predictions=[Path(path) for path in snakemake.input.predictions],
            scores=[Path(path) for path in snakemake.input.scores],
            explanations=[Path(path) for path in snakemake.input.explanations],
            benchmark=Path(snakemake.input.benchmark),
            scenarios=Path(snakemake.input.scenarios),
            workloads=[Path(path) for path in snakemake.input.workloads],
            results=Path(snakemake.params.results),
        ),
        page=Path(snakemake.output.page),
        study=snakemake.params.study,
        settings=snakemake.params.settings,
    )

"""The report, and the last word of a run.

Reads    what all layers wrote
Writes   results/report/index.html (at the end of the run, its section on jobs again)
         results/failures.tsv (slide stage error; without rows where all is well)
"""


rule build_report:
    """Show the whole run on one page."""
    input:
        slides="results/cohort/slides.tsv",
        splits="results/cohort/splits.tsv",
        masks="results/masks/manifest.tsv",
        quality="results/masks/quality.tsv",
        patches="results/patches/manifest.tsv",
        index="results/patches/index.parquet",
        summary="results/train/summary.tsv",
        metrics=expand(
            "results/train/{run}/seed{seed}/metrics.json", run=RUNS, seed=SEEDS
        ),
        parity=expand("results/export/{run}/parity.tsv", run=RUNS),
        predictions=expand("results/predict/{run}/manifest.tsv", run=RUNS),
        scores=expand("results/predict/{run}/scores.tsv", run=RUNS),
        explanations=expand(
            "results/interpret/{run}/grad_cam/explanations.tsv", run=RUNS
        ),
        benchmark="results/benchmark/summary.tsv",
        scenarios="results/benchmark/scenarios.tsv",
        workloads=(
            [
                "results/benchmark/workloads.tsv",
                "results/benchmark/stages.svg",
                "results/benchmark/parity.svg",
            ]
            if WORKLOADS
            else []
        ),
    output:
        page="results/report/index.html",
    log:
        "results/logs/build_report.log",
    resources:
        **at_site(Device.CPU),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=minutes(30),
    params:
        study=SETTINGS.study,
        # What jobs cost is known after them, and no input: the end of the run renews the section.
        results=subpath(output.page, ancestor=2),
        settings=without_replanning(SETTINGS),
        revision=report_room.REVISION,
    script:
        "../../scripts/report/build_report.py"


rule check_failures:
    """List the quarantined slides; fail when they are more than fleet.max_failed_share allows."""
    input:
        manifests=[
            "results/masks/manifest.tsv",
            "results/patches/manifest.tsv",
            *expand("results/predict/{run}/manifest.tsv", run=RUNS),
        ],
        report="results/report/index.html",
    output:
        checked=touch("results/failures.checked"),
    log:
        "results/logs/check_failures.log",
        # A log, because Snakemake deletes the outputs of a job that fails, and this table is what
        # says why it failed.
        table="results/failures.tsv",
    params:
        fleet=SETTINGS.fleet.as_params(),
    script:
        "../../scripts/report/check_failures.py"

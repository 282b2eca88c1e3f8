"""Layer III: the inference engines, timed and compared.

Reads    results/export/{run}/, results/patches/index.parquet
Writes   results/benchmark/{case}/{engine}-{precision}.json, results/benchmark/summary.tsv,
         results/benchmark/scenarios.tsv
"""


rule benchmark_engine:
    """Time one engine in one precision on one case."""
    input:
        index="results/patches/index.parquet",
        cards=expand(
            f"results/export/{BENCHMARK_RUN}/{{format}}/model.json", format=FORMATS
        ),
        parity=f"results/export/{BENCHMARK_RUN}/parity.tsv",
        reference=f"results/export/{BENCHMARK_RUN}/reference.parquet",
    output:
        result="results/benchmark/{case}/{engine}-{precision}.json",
    log:
        "results/logs/benchmark_engine/{case}/{engine}-{precision}.log",
    # On one machine all of its cores, so that nothing else runs beside a measurement. On a cluster
    # there is no such number: none before the job starts, in the job that of the whole node.
    threads:
        (not workflow.remote_exec and workflow.resource_settings.cores)
        or SETTINGS.benchmark.threads
    resources:
        **at_site(SETTINGS.benchmark.device),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=SETTINGS.site.within_limit(SETTINGS.benchmark.runtime_min),
    params:
        folder=subpath(input.parity, parent=True),
        settings=SETTINGS.benchmark.as_params(),
        tracking=without_replanning(SETTINGS.tracking),
        revision=benchmark.REVISION,
    script:
        "../../scripts/benchmark/benchmark_engine.py"


rule summarise_benchmark:
    """Put the engines side by side."""
    input:
        results=expand(
            "results/benchmark/{case}/{engine}-{precision}.json",
            case=CASES,
            engine=ENGINES,
            precision=PRECISIONS,
        ),
    output:
        summary="results/benchmark/summary.tsv",
        scenarios="results/benchmark/scenarios.tsv",
    log:
        "results/logs/summarise_benchmark.log",
    params:
        revision=benchmark.REVISION,
    script:
        "../../scripts/benchmark/summarise_benchmark.py"

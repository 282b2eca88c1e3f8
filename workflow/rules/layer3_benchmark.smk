"""Layer III: the inference engines, timed and compared.

Reads    results/export/{run}/, results/patches/index.parquet
Writes   results/benchmark/{case}/{engine}-{precision}.json, results/benchmark/summary.tsv,
         results/benchmark/scenarios.tsv
         results/workloads/{case}/ (what a workload works on, and its network)
         results/benchmark/workloads.tsv, with pictures beside it
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
    wildcard_constraints:
        case="patches",
    # On one machine all of its cores, so that nothing else runs beside a measurement. On a cluster
    # there is no such number: none before the job starts, in the job that of the whole node.
    threads:
        (not workflow.remote_exec and workflow.resource_settings.cores)
        or SETTINGS.benchmark.threads
    resources:
        **at_site(SETTINGS.benchmark.device),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=minutes(SETTINGS.benchmark.runtime_min),
    params:
        folder=subpath(input.parity, parent=True),
        settings=SETTINGS.benchmark.as_params(),
        revision=benchmark.REVISION,
    script:
        "../../scripts/benchmark/benchmark_engine.py"


rule summarise_benchmark:
    """Put the engines side by side."""
    input:
        results=expand(
            "results/benchmark/{case}/{engine}-{precision}.json",
            case=[case for case in CASES if case == "patches"],
            engine=ENGINES,
            precision=PRECISIONS,
        ),
        tracking=ancient("results/mlflow/ready.json"),
    output:
        summary="results/benchmark/summary.tsv",
        scenarios="results/benchmark/scenarios.tsv",
    log:
        "results/logs/summarise_benchmark.log",
    params:
        tracking=without_replanning(SETTINGS.tracking),
        revision=benchmark.REVISION,
    script:
        "../../scripts/benchmark/summarise_benchmark.py"


rule prepare_workload:
    """Lay out what a workload works on."""
    input:
        given=lambda wildcards: SETTINGS.workloads.given(wildcards.case),
    output:
        prepared="results/workloads/{case}/input.json",
    log:
        "results/logs/prepare_workload/{case}.log",
    resources:
        **at_site(Device.CPU),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=minutes(120),
    params:
        settings=lambda wildcards: SETTINGS.workloads.of_input(
            wildcards.case
        ).as_params(),
        drawing_revision=drawing.REVISION,
        revision=workloads.REVISION,
    script:
        "../../scripts/benchmark/prepare_workload.py"


rule export_workload:
    """Write the network of a workload in the formats of the engines."""
    input:
        prepared="results/workloads/{case}/input.json",
        onnx2tf=lambda wildcards: translated_workload(wildcards.case),
    output:
        network="results/workloads/{case}/network.json",
        reference="results/workloads/{case}/reference.npz",
    log:
        "results/logs/export_workload/{case}.log",
    resources:
        **at_site(Device.CPU),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=minutes(30),
    params:
        engines=ENGINES,
        opset=SETTINGS.export.opset,
        settings=SETTINGS.workloads.of_network().as_params(),
        export_revision=export.REVISION,
        revision=workloads.REVISION,
    script:
        "../../scripts/benchmark/export_workload.py"


rule time_workload:
    """Time one workload on one engine, its stages apart."""
    input:
        prepared="results/workloads/{case}/input.json",
        network="results/workloads/{case}/network.json",
        reference="results/workloads/{case}/reference.npz",
    output:
        result="results/benchmark/{case}/{engine}-{precision}.json",
        table="results/benchmark/{case}/{engine}-{precision}.csv",
    log:
        "results/logs/time_workload/{case}/{engine}-{precision}.log",
    wildcard_constraints:
        case="ultrasound|ct|wsi",
    # As for benchmark_engine: nothing else runs beside a measurement.
    threads:
        (not workflow.remote_exec and workflow.resource_settings.cores)
        or SETTINGS.benchmark.threads + SETTINGS.workloads.readers
    resources:
        **at_site(SETTINGS.benchmark.device),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=minutes(480),
    params:
        folder=subpath(input.prepared, parent=True),
        limit=lambda wildcards: SETTINGS.parity.limits.of(wildcards.precision),
        benchmark=SETTINGS.benchmark.of_workloads().as_params(),
        settings=SETTINGS.workloads.of_runs().as_params(),
        reading_revision=slides.REVISION,
        engines_revision=engines.REVISION,
        revision=workloads.REVISION,
    script:
        "../../scripts/benchmark/time_workload.py"


rule summarise_workloads:
    """Put the workloads of all engines side by side, as tables and as pictures."""
    input:
        results=expand(
            "results/benchmark/{case}/{engine}-{precision}.json",
            case=WORKLOADS,
            engine=ENGINES,
            precision=PRECISIONS,
        ),
        tracking=ancient("results/mlflow/ready.json"),
    output:
        summary="results/benchmark/workloads.tsv",
        tables="results/benchmark/workloads.md",
        stages="results/benchmark/stages.svg",
        parity="results/benchmark/parity.svg",
    log:
        "results/logs/summarise_workloads.log",
    params:
        tracking=without_replanning(SETTINGS.tracking),
        revision=workloads.REVISION,
    script:
        "../../scripts/benchmark/summarise_workloads.py"

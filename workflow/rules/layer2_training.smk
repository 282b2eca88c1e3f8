"""Layer II: networks are trained, compared over their seeds, and exported.

Reads    results/patches/index.parquet, results/cohort/slides.tsv (runs that learn its columns)
Writes   results/train/{run}/seed{seed}/metrics.json  and beside it best.pt, history.tsv,
         predictions.parquet, pictures/, state/
         results/train/summary.tsv
         results/export/{run}/{format}/model.json and beside it the model
         results/export/{run}/parity.tsv
"""


rule train_model:
    """Train one network from one seed."""
    input:
        index="results/patches/index.parquet",
        slides=learned_slide_table,
        weights=lambda wildcards: SETTINGS.training.runs[wildcards.run].weights or [],
        tracking=ancient("results/mlflow/ready.json"),
    output:
        metrics="results/train/{run}/seed{seed}/metrics.json",
    log:
        "results/logs/train_model/{run}/seed{seed}.log",
    benchmark:
        "results/timings/train_model/{run}/seed{seed}.tsv"
    # The launcher asks SLURM and starts ranks by srun; the ranks run in the container.
    container:
        None
    # On several nodes SLURM multiplies it by the number of processes.
    threads:
        lambda wildcards: SETTINGS.training.runs[wildcards.run].threads
        * (SETTINGS.training.processes if SETTINGS.training.nodes == 1 else 1)
    resources:
        **at_site(SETTINGS.training.device, SETTINGS.training.processes_per_node),
        **several_nodes(SETTINGS.training),
        # On each node.
        mem_mb=lambda wildcards, attempt: 8000
        * SETTINGS.training.processes_per_node
        * attempt,
        runtime=minutes(720),
    params:
        folder=subpath(output.metrics, parent=True),
        slides=lambda wildcards, input, threads: (
            f"--slides {input.slides}" if input.slides else ""
        ),
        # Compared with those of the last run; `settings` is not, for its limits change no result.
        result_depends_on=lambda wildcards: SETTINGS.training.for_run(wildcards.run)
        .without_limits()
        .as_params(),
        settings=lambda wildcards, threads: SETTINGS.training.for_run(
            wildcards.run
        ).model_dump_json(),
        tracking=lambda wildcards, threads: SETTINGS.tracking.model_dump_json(),
        # A SLURM job of Snakemake's is there for this training alone.
        requeue=lambda wildcards, threads: "--requeue" if workflow.remote_exec else "",
        launcher=lambda wildcards, threads: SETTINGS.site.launcher.value,
        container=lambda wildcards, threads: (
            ["--container", str(IMAGE)] if IMAGE else []
        ),
        revision=training.REVISION,
    shell:
        "python -m lamella.training --index {input.index} {params.slides} --output {params.folder}"
        " --run {wildcards.run} --seed {wildcards.seed} {params.requeue}"
        " --launcher {params.launcher}"
        " {params.container:q}"
        " --settings {params.settings:q} --tracking {params.tracking:q} --log {log}"


rule summarise_runs:
    """Give mean and spread of every run over its seeds."""
    input:
        metrics=expand(
            "results/train/{run}/seed{seed}/metrics.json", run=RUNS, seed=SEEDS
        ),
    output:
        summary="results/train/summary.tsv",
    log:
        "results/logs/summarise_runs.log",
    params:
        revision=training.REVISION,
    script:
        "../../scripts/training/summarise_runs.py"


rule prepare_onnx2tf:
    """Make the environment that translates networks into TensorFlow's SavedModel."""
    output:
        python="results/export/onnx2tf.txt",
    log:
        "results/logs/prepare_onnx2tf.log",
    # Where there is internet, and outside an image, which is not written into.
    localrule: True
    container:
        None
    params:
        program=str(Path(workflow.basedir) / "scripts" / "onnx2tf.sh"),
    # Engines that read other formats do not need it: export says of this one why there is none.
    shell:
        "{params.program} > {output.python} 2> {log}"
        " || {{ cat {log} >&2; : > {output.python}; }}"


rule export_model:
    """Export the network of the best seed in every format that an engine reads."""
    input:
        metrics=expand("results/train/{{run}}/seed{seed}/metrics.json", seed=SEEDS),
        onnx2tf=translated_by,
        tracking=ancient("results/mlflow/ready.json"),
    output:
        cards=expand("results/export/{{run}}/{format}/model.json", format=FORMATS),
    log:
        "results/logs/export_model/{run}.log",
    resources:
        **at_site(Device.CPU),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=minutes(30),
    params:
        folder="results/export/{run}",
        formats=FORMATS,
        settings=SETTINGS.export.as_params(),
        tracking=without_replanning(SETTINGS.tracking),
        revision=export.REVISION,
    script:
        "../../scripts/training/export_model.py"


rule check_parity:
    """Compare what every engine says of real patches with the trained network."""
    input:
        index="results/patches/index.parquet",
        metrics=expand("results/train/{{run}}/seed{seed}/metrics.json", seed=SEEDS),
        cards=expand("results/export/{{run}}/{format}/model.json", format=FORMATS),
    output:
        parity="results/export/{run}/parity.tsv",
        reference="results/export/{run}/reference.parquet",
    log:
        "results/logs/check_parity/{run}.log",
    threads: SETTINGS.parity.threads
    resources:
        **at_site(SETTINGS.parity.device),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=minutes(30),
    params:
        folder=subpath(output.parity, parent=True),
        settings=SETTINGS.parity.as_params(),
        tracking=without_replanning(SETTINGS.tracking),
        revision=engines.REVISION,
    script:
        "../../scripts/training/check_parity.py"

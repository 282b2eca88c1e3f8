"""Layer III: why the network says what it says.

Reads    results/patches/index.parquet, results/train/{run}/
Writes   results/interpret/{run}/grad_cam/explanations.tsv  and beside it about.json, patches/
"""


rule explain_patches:
    """Show with Grad-CAM where in a patch the network looks."""
    input:
        index="results/patches/index.parquet",
        metrics=expand("results/train/{{run}}/seed{seed}/metrics.json", seed=SEEDS),
        tracking=ancient("results/mlflow/ready.json"),
    output:
        table="results/interpret/{run}/grad_cam/explanations.tsv",
        about="results/interpret/{run}/grad_cam/about.json",
    log:
        "results/logs/explain_patches/{run}.log",
    benchmark:
        "results/timings/explain_patches/{run}.tsv"
    resources:
        **at_site(Device.CPU),
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=minutes(60),
    params:
        metric=SETTINGS.export.metric.value,
        settings=SETTINGS.interpret.as_params(),
        tracking=without_replanning(SETTINGS.tracking),
        revision=interpret.REVISION,
    script:
        "../../scripts/interpret/explain_patches.py"

"""Lamella: whole-slide images, from tissue to trained, exported, explained and timed networks.

Goals: snakemake --list-target-rules. Settings: config/README.md. Profiles: profiles/README.md.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


# What the cluster is called, apart from what the study is: `lamella doctor --slurm` writes it.
if Path("config/site.yaml").exists():

    configfile: "config/site.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/layer0_cohort.smk"
include: "workflow/rules/layer1_preprocess.smk"
include: "workflow/rules/layer2_training.smk"
include: "workflow/rules/layer3_benchmark.smk"
include: "workflow/rules/layer3_predict.smk"
include: "workflow/rules/layer3_interpret.smk"
include: "workflow/rules/report.smk"


# `lamella retry` removes manifests. Snakemake makes a missing file between two stages anew only
# where the goal itself names it, so goals name the manifests they rest on.
STAGES = ["results/masks/manifest.tsv", "results/patches/manifest.tsv"]
PREDICTIONS = expand("results/predict/{run}/manifest.tsv", run=RUNS)


# Each where a case of it is asked for.
BENCHMARKS = ["results/benchmark/summary.tsv"] if "patches" in CASES else []
BENCHMARKS += ["results/benchmark/workloads.tsv"] if WORKLOADS else []


rule all:
    """Everything, and at the very end a failure when too many slides were quarantined."""
    default_target: True
    input:
        STAGES,
        PREDICTIONS,
        "results/failures.checked",


rule patches:
    """Layer I: the patches of all slides and their index."""
    input:
        STAGES,
        "results/patches/index.parquet",
        "results/patches/cohort.h5",


rule train:
    """Layer II: every run, trained for every seed."""
    input:
        STAGES,
        "results/train/summary.tsv",


rule export:
    """Layer II: the best network of every run in every format, compared with its origin."""
    input:
        STAGES,
        expand("results/export/{run}/parity.tsv", run=RUNS),


rule predict:
    """Layer III: heatmaps and slide scores."""
    input:
        STAGES,
        PREDICTIONS,
        expand("results/predict/{run}/scores.tsv", run=RUNS),


rule interpret:
    """Layer III: what in a patch the network looks at."""
    input:
        STAGES,
        expand("results/interpret/{run}/grad_cam/explanations.tsv", run=RUNS),


rule benchmark:
    """Layer III: how fast and how exact the inference engines are."""
    input:
        STAGES,
        BENCHMARKS,


rule report:
    """The report: one page that shows all of the above."""
    input:
        STAGES,
        PREDICTIONS,
        "results/report/index.html",

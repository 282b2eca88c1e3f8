"""What all rules share: the settings, checked before any job is planned, and the tracked run."""

import os
import platform
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake_interface_executor_plugins.settings import ExecMode

from lamella import (
    benchmark,
    cohort,
    drawing,
    engines,
    export,
    interpret,
    patches,
    predict,
    slides,
    tissue,
    training,
    workloads,
)
from lamella import report as report_room  # "report" is a word of Snakemake's
from lamella.config import load_config, load_slides
from lamella.engines.load import formats_read
from lamella.errors import LamellaError, SettingsError
from lamella.report.costs import tell_run_costs
from lamella.settings import Device
from lamella.slides.identity import files_state
from lamella.slurm.container import LOCK, check_environment, image_of, show
from lamella.slurm.failed_jobs import reasons_of
from lamella.slurm.left_behind import refuse_jobs_left_in
from lamella.slurm.submit import have_submissions_wait
from lamella.tracking.sync import close_workflow_run
from lamella.tracking.workflow import start_workflow_run


def devices():
    """Return where networks are trained and run."""
    sections = ("training", "parity", "predict", "benchmark")
    return {getattr(SETTINGS, section).device for section in sections}


def show_in_container():
    """Have the site's container show what jobs read and write."""
    if DeploymentMethod.APPTAINER not in workflow.deployment_settings.deployment_method:
        raise SettingsError(
            "Snakemake would run its jobs outside it",
            "site.container",
            "Take profiles/local or profiles/slurm, or call snakemake with "
            "--software-deployment-method apptainer",
        )
    of_slides = (
        path
        for slide in SLIDES
        for path in (slide.path, slide.mask, slide.annotation)
        if path
    )
    show(of_slides, SETTINGS.paths(), gpus=Device.CUDA in devices())


def container_of(fleet):
    """Give a stage the image, but none where it submits the jobs of its workers itself."""
    return None if fleet.cluster == "slurm" or IMAGE is None else str(IMAGE)


# Snakemake lists the files of the command line first, but these are merged last.
merged_last = list(workflow.overwrite_configfiles)
merged_first = [file for file in workflow.configfiles if file not in merged_last]
try:
    SETTINGS = load_config(config, [*merged_first, *merged_last])
    SLIDES = load_slides(SETTINGS)
    IMAGE = image_of(SETTINGS.site)
    if IMAGE is not None:
        show_in_container()
except LamellaError as error:
    raise WorkflowError(str(error)) from None

# While a Snakefile is read Snakemake does not say what its jobs will go to, nor do the processes that
# it starts here for its jobs. But all that is not this machine needs --jobs, which profiles/slurm has.
EXECUTOR = "LAMELLA_EXECUTOR"
if workflow.exec_mode == ExecMode.DEFAULT:
    os.environ[EXECUTOR] = (
        "local" if workflow.resource_settings.nodes is None else "cluster"
    )
# A run whose jobs stay here submits none for its workers, either, unless the command line says so.
ASKED = workflow.config_settings.config.get("fleet") or {}
if os.environ.get(EXECUTOR) == "local" and "cluster" not in ASKED:
    SETTINGS = SETTINGS.with_workers_here()

# The number of jobs follows from these, never from the number of slides.
RUNS = SETTINGS.training.selected_runs
SEEDS = SETTINGS.training.seeds
ENGINES = [engine.value for engine in SETTINGS.benchmark.engines]
PRECISIONS = [precision.value for precision in SETTINGS.benchmark.precisions]
FORMATS = [str(each) for each in formats_read(SETTINGS.parity.engines)]
CASES = [case.value for case in SETTINGS.benchmark.cases]
WORKLOADS = [case for case in CASES if case != "patches"]
BENCHMARK_RUN = SETTINGS.benchmark.run or RUNS[0]


def without_replanning(section):
    """Give a job settings that change no result: where it is tracked, how many workers there are.

    Snakemake does not compare params that are functions of ``threads`` with those of the last run.
    """
    return lambda wildcards, threads: section.as_params()


def translated_by(wildcards):
    """List what makes TensorFlow's format of a network of torch; others do not need it."""
    is_torch = SETTINGS.training.runs[wildcards.run].framework == "torch"
    return (
        ["results/export/onnx2tf.txt"] if is_torch and "tensorflow" in FORMATS else []
    )


def translated_workload(case):
    """List what writes the network of a workload for TensorFlow; Keras writes U-Nets."""
    wanted = case == "wsi" and "tensorflow" in ENGINES
    return ["results/export/onnx2tf.txt"] if wanted else []


def learned_slide_table(wildcards):
    """Name the checked slide table for runs that learn its columns; others do not depend on it."""
    columns = SETTINGS.training.runs[wildcards.run].target.columns
    return "results/cohort/slides.tsv" if columns else []


def fleet_memory_mb(wildcards, threads, attempt):
    """Give a fan-out stage what its workers may use, and its own process 1 GB."""
    return int(1000 + threads * SETTINGS.fleet.worker_memory_mib * 1.05) * attempt


def minutes(wanted):
    """Give a job so much time, and again as much at each further attempt, as the site allows."""
    return lambda wildcards, attempt: SETTINGS.site.within_limit(wanted * attempt)


def at_site(device, processes=1):
    """Give a job account, partition and, where it computes on them, a GPU for each process."""
    return SETTINGS.site.resources(gpus=0 if device is Device.CPU else processes)


def require_site():
    """Refuse a run on a cluster of which nothing is known, also a dry one."""
    if workflow.exec_mode != ExecMode.DEFAULT:
        return
    if os.environ[EXECUTOR] == "local" and SETTINGS.fleet.cluster == "local":
        return
    missing = {
        "partition": SETTINGS.site.partition is None,
        "gpu_partition": SETTINGS.site.gpu_partition is None
        and Device.CUDA in devices(),
    }
    for name in (name for name, is_missing in missing.items() if is_missing):
        raise WorkflowError(
            f"config/site.yaml: site.{name} is not there, and jobs go to a cluster. "
            "Write the file with `lamella doctor --slurm`, then look through it."
        )


def several_nodes(training):
    """Give a training on several nodes the resources that the SLURM plugin asks for it."""
    if training.nodes == 1:
        return {}
    each = training.processes_per_node
    # The plugin takes the one or the other, and tasks_per_node only above 1.
    tasks = {"tasks_per_node": each} if each > 1 else {"tasks": training.nodes}
    # With "mpi" it starts the rule's command once, not by srun, which the launcher calls itself.
    # Without tasks_per_gpu it would ask for all tasks on each GPU.
    return {"nodes": training.nodes, "mpi": "srun", "tasks_per_gpu": 0, **tasks}


def end_run(*, succeeded):
    """Tell what the run's SLURM jobs cost and why some failed, and close its record."""
    for line in tell_run_costs(Path("results")):
        print(line, file=sys.stderr)
    close_workflow_run(Path("results"), SETTINGS.tracking, succeeded=succeeded)


require_site()


wildcard_constraints:
    run=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    seed=r"\d+",
    engine=r"[a-z_]+",
    precision=r"[a-z]+\d+",
    case=r"[a-z]+",


localrules:
    prepare_tracking,
    check_cohort,
    split_cohort,
    summarise_runs,
    summarise_benchmark,
    summarise_workloads,
    check_failures,


# Then the stages only watch over the SLURM jobs of their workers.
if SETTINGS.fleet.cluster == "slurm":

    localrules:
        segment_tissue,
        extract_patches,


# For all rules that do not name one, or none, themselves.
container: str(IMAGE) if IMAGE else None


onstart:
    if IMAGE is not None:
        try:
            check_environment(IMAGE, LOCK)
        except LamellaError as error:
            raise WorkflowError(str(error)) from None
    # scripts/run_workflow.sh takes away no lock of a run on another machine.
    Path(".snakemake/lamella-run").write_text(platform.node() + "\n")
    if workflow.executor_plugin.name == "slurm":
        # The script looks for jobs that a killed run has left in SLURM where this file is.
        Path(".snakemake/lamella-slurm").touch()
        # It marks what its jobs are making; without a mark there is none.
        if any(Path(".snakemake/incomplete").glob("*")):
            try:
                refuse_jobs_left_in(Path.cwd())
            except LamellaError as error:
                raise WorkflowError(str(error)) from None
        have_submissions_wait(Path(workflow.basedir) / "scripts" / "slurm")
    start_workflow_run(SETTINGS.study, SETTINGS.as_params())


onsuccess:
    end_run(succeeded=True)


onerror:
    end_run(succeeded=False)
    # Last, and each in one line: above stands all that the jobs have printed.
    for file in log:
        for reason in reasons_of(Path(file)):
            print(reason, file=sys.stderr)

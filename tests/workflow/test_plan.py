"""Which jobs are planned, and what a change replans."""

import os
import re
import resource
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

ENDS = {"build_report": 1, "check_failures": 1, "all": 1}
TIMED = {"benchmark_engine": 3, "summarise_benchmark": 1}
AFTER_PARITY = {**TIMED, "predict_slides": 1, **ENDS}
AFTER_EXPORT = {"check_parity": 1, **AFTER_PARITY}
AFTER_TRAINING = {"summarise_runs": 1, "export_model": 1, "explain_patches": 1, **AFTER_EXPORT}
AFTER_JOIN = {"train_model": 1, **AFTER_TRAINING}
AFTER_PATCHES = {"join_cohort": 1, **AFTER_JOIN}


def processor_seconds():
    """Return the processor time of all ended children: what else runs here does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_first_run_plans_every_rule(workplace):
    assert workplace.snakemake("--dry-run").jobs == {
        "prepare_tracking": 1,
        "check_cohort": 1,
        "split_cohort": 1,
        "segment_tissue": 1,
        "extract_patches": 1,
        **AFTER_PATCHES,
    }


def test_what_the_engines_read_is_exported_and_tensorflow_gets_its_environment_once(workplace):
    engines = ["tensorflow", "torchscript", "openvino"]
    runs = {"small": {"model": "resnet18"}, "large": {"model": "resnet50"}}
    workplace.write_config(
        {
            "training": {"runs": runs, "use": ["small", "large"]},
            "parity": {"engines": engines},
            "benchmark": {"engines": engines},
            "predict": {"engine": "openvino"},
        }
    )
    plan = workplace.snakemake("--dry-run")
    assert (plan.jobs["export_model"], plan.jobs["prepare_onnx2tf"]) == (2, 1)
    for name in ("onnx", "torch", "torchscript", "openvino", "tensorflow"):
        assert f"results/export/small/{name}/model.json" in plan.text


def test_jobs_follow_from_runs_seeds_and_engines(workplace):
    runs = {"small": {"model": "resnet18"}, "large": {"model": "resnet50"}, "unused": {}}
    workplace.write_config(
        {
            "training": {"runs": runs, "use": ["small", "large"], "seeds": [1, 2, 3]},
            "benchmark": {"engines": ["onnxruntime", "openvino"]},
        }
    )
    jobs = workplace.snakemake("--dry-run").jobs
    assert (jobs["train_model"], jobs["export_model"], jobs["check_parity"]) == (6, 2, 2)
    assert (jobs["predict_slides"], jobs["explain_patches"]) == (2, 2)
    assert (jobs["benchmark_engine"], jobs["segment_tissue"]) == (2, 1)


def test_every_engine_is_timed_in_every_precision_into_a_file_of_its_own(workplace):
    chosen = {"engines": ["onnxruntime", "openvino"], "precisions": ["f32", "bf16"]}
    workplace.write_config({"parity": chosen, "benchmark": chosen})
    plan = workplace.snakemake("--dry-run", "benchmark")
    assert (plan.jobs["benchmark_engine"], plan.jobs["check_parity"]) == (4, 1)
    for name in ("onnxruntime-f32", "onnxruntime-bf16", "openvino-f32", "openvino-bf16"):
        assert f"output: results/benchmark/patches/{name}.json" in plan.text
    assert "wildcards: case=patches, engine=openvino, precision=bf16" in plan.text


def test_a_precision_that_was_not_proven_stops_the_run_before_any_job(workplace):
    workplace.write_config({"benchmark": {"precisions": ["f32", "bf16"]}})
    plan = workplace.snakemake("--dry-run")
    assert plan.returncode != 0
    assert "benchmark.precisions: bf16 is not in parity.precisions" in plan.text


GPU = {"tasks_per_gpu": "0"}
"""Else the plugin would ask for all tasks on each GPU."""


@pytest.mark.parametrize(
    ("training", "resources"),
    [
        ({"processes": 4}, {"mem_mb": "32000"}),
        (
            {"processes": 4, "nodes": 2},
            {"mem_mb": "16000", "nodes": "2", "tasks_per_node": "2", "mpi": "srun"} | GPU,
        ),
        (
            {"processes": 2, "nodes": 2},
            {"mem_mb": "8000", "nodes": "2", "tasks": "2", "mpi": "srun"} | GPU,
        ),
    ],
)
def test_training_asks_for_tasks_on_its_nodes_and_memory_per_node(workplace, training, resources):
    workplace.write_config({"training": {"backend": "torch", **training}})
    plan = workplace.snakemake("--dry-run", "train").text
    job = plan[plan.index("rule train_model:") :].partition("Shell command:")[0]
    found = dict(re.findall(r"(mem_mb|nodes|tasks|tasks_per_node|tasks_per_gpu|mpi)=(\w+)", job))
    assert found == resources
    # Of one process on several nodes, where SLURM multiplies them; else of all.
    assert ("threads: " in job) == ("nodes" not in training)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_job_of_the_cluster_goes_to_the_partition_of_its_device(workplace, device):
    workplace.write_config(
        {"site": {"account": "lab", "partition": "short", "gpu_partition": "gpu", "qos": "high"}},
        "site.yaml",
    )
    on_device = {"device": device}
    computing = dict.fromkeys(("parity", "predict", "benchmark"), on_device)
    training = {"backend": "torch", "processes": 2, **on_device}
    workplace.write_config({**computing, "training": training})
    plan = workplace.snakemake("--dry-run", profile=REPOSITORY / "profiles" / "slurm").text
    jobs = re.findall(r"^rule (\w+):\n(.*?)^Shell command:", plan, re.MULTILINE | re.DOTALL)
    names = ("slurm_account", "slurm_partition", "qos", "gres")
    asked = re.compile(rf"\b({'|'.join(names)})=([\w:]+)")
    given = {rule: dict(asked.findall(job)) for rule, job in jobs}
    found = {rule: [words.get(name, "") for name in names] for rule, words in given.items()}
    plain = ["lab", "short", "high", ""]
    one = ["lab", "gpu", "high", "gpu:1"] if device == "cuda" else plain
    beside = {"prepare_tracking", "check_cohort", "split_cohort", "check_failures", "all"}
    beside |= {"summarise_runs", "summarise_benchmark"}
    assert {rule: words for rule, words in found.items() if rule not in beside} == {
        **dict.fromkeys(("segment_tissue", "extract_patches", "join_cohort"), plain),
        **dict.fromkeys(("export_model", "explain_patches", "build_report"), plain),
        **dict.fromkeys(("check_parity", "predict_slides", "benchmark_engine"), one),
        "train_model": [*one[:3], "gpu:2" if device == "cuda" else ""],
    }


ASKED = {
    # Of 16 workers of 2048 MiB.
    **dict.fromkeys(("extract_patches", "predict_slides"), (35406, 240)),
    "segment_tissue": (35406, 120),
    **dict.fromkeys(("join_cohort", "build_report"), (4000, 30)),
    "train_model": (16000, 720),
    **dict.fromkeys(("export_model", "check_parity"), (8000, 30)),
    **dict.fromkeys(("explain_patches", "benchmark_engine"), (8000, 60)),
    "prepare_workload": (4000, 120),
    "export_workload": (8000, 30),
    "time_workload": (8000, 480),
}
"""MB and minutes that the jobs of the cluster ask for at first."""


@pytest.mark.parametrize(("attempt", "limit_min"), [(1, None), (3, 300)])
def test_each_attempt_asks_for_more_memory_and_within_the_limit_for_more_time(
    workplace, attempt, limit_min
):
    site = {"partition": "short", "limit_min": limit_min}
    workplace.write_config({"site": site}, "site.yaml")
    training = {"backend": "torch", "processes": 2}
    workplace.write_config({"training": training, "benchmark": {"cases": ["patches", "ct"]}})
    words = ("--dry-run", "--cores", "64", "--attempt", str(attempt))
    plan = workplace.snakemake(*words, profile=REPOSITORY / "profiles" / "slurm").text
    blocks = re.findall(r"^rule (\w+):\n(.*?)\n\n", plan, re.MULTILINE | re.DOTALL)
    shape = re.compile(r"\bmem_mb=(\d+),.*\bruntime=(\d+)")
    asked = {rule: shape.search(block) for rule, block in blocks}
    found = {rule: (int(asked[rule][1]), int(asked[rule][2])) for rule in ASKED}
    most = limit_min or 9999
    assert found == {
        rule: (mib * attempt, min(limit * attempt, most)) for rule, (mib, limit) in ASKED.items()
    }
    # All others run beside Snakemake.
    others = {rule for rule, _ in blocks} - ASKED.keys()
    assert others == {"prepare_tracking", "check_cohort", "split_cohort", "summarise_runs"} | {
        *("summarise_benchmark", "summarise_workloads", "check_failures", "all")
    }


def test_cluster_profile_plans_without_a_number_of_cores(workplace):
    workplace.write_config({"site": {"partition": "short"}}, "site.yaml")
    plan = workplace.snakemake("--dry-run", profile=REPOSITORY / "profiles" / "slurm")
    assert plan.jobs["benchmark_engine"] == 3, plan.text


@pytest.mark.parametrize(
    ("goal", "last"),
    [
        ("patches", "join_cohort"),
        ("train", "summarise_runs"),
        ("export", "check_parity"),
        ("predict", "predict_slides"),
        ("interpret", "explain_patches"),
        ("benchmark", "summarise_benchmark"),
        ("report", "build_report"),
    ],
)
def test_goal_plans_its_last_step_and_nothing_after_it(workplace, goal, last):
    jobs = workplace.snakemake("--dry-run", goal).jobs
    assert jobs[goal] == jobs[last] == 1
    assert "check_failures" not in jobs


def test_imported_patches_are_trained_on_without_any_slide(workplace):
    index = workplace.folder / "results/patches/index.parquet"
    index.parent.mkdir(parents=True)
    index.write_text("imported")
    rules = ("prepare_tracking", "train_model", "summarise_runs")
    answer = workplace.snakemake(
        "--dry-run", "results/train/summary.tsv", "--allowed-rules", *rules
    )
    assert answer.jobs == dict.fromkeys(rules, 1)


def test_nothing_is_planned_when_all_is_done(finished_workplace):
    answer = finished_workplace.snakemake("--dry-run")
    assert "Nothing to be done" in answer.text
    assert answer.jobs == {}


CHANGES = {
    "study": ({"study": "another"}, ENDS),
    "split": ({"split": {"seed": 9}}, {"split_cohort": 1, **AFTER_PATCHES}),
    "reading": (
        {"reading": {"reader": "openslide"}},
        {"segment_tissue": 1, "extract_patches": 1, **AFTER_PATCHES},
    ),
    "tissue": (
        {"tissue": {"mpp": 4.0}},
        {"segment_tissue": 1, "extract_patches": 1, **AFTER_PATCHES},
    ),
    "patches": ({"patches": {"mpp": 1.0}}, {"extract_patches": 1, **AFTER_PATCHES}),
    "training": ({"training": {"runs": {"resnet50": {"epochs": 3}}}}, AFTER_JOIN),
    "training limits": (
        {"training": {"start_limit_s": 60, "exchange_limit_s": 600, "max_open_shards": 8}},
        {},
    ),
    "opset": ({"export": {"opset": 19}}, {"export_model": 1, **AFTER_EXPORT}),
    "metric": (
        {"export": {"metric": "accuracy"}},
        {"export_model": 1, "explain_patches": 1, **AFTER_EXPORT},
    ),
    "parity": ({"parity": {"limits": {"f32": 0.001}}}, AFTER_EXPORT),
    "precisions": (
        {"parity": {"precisions": ["f32", "bf16"]}, "benchmark": {"precisions": ["f32", "bf16"]}},
        {**AFTER_EXPORT, "benchmark_engine": 6},
    ),
    "predict": ({"predict": {"top_share": 0.1}}, {"predict_slides": 1, **ENDS}),
    "benchmark": ({"benchmark": {"iterations": 70}}, {**TIMED, **ENDS}),
    "fleet": ({"fleet": {"max_workers": 3}}, {"check_failures": 1, "all": 1}),
    "site": ({"site": {"account": "another", "walltime_min": 60}}, {}),
    "tracking": ({"tracking": {"timeout_s": 7}}, {"prepare_tracking": 1}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_setting_replans_its_step_and_what_follows(finished_workplace, name):
    change, replanned = CHANGES[name]
    changed = finished_workplace.write_config(change, "changed.yaml")
    answer = finished_workplace.snakemake("--dry-run", "--configfile", changed)
    assert answer.returncode == 0, answer.text
    assert answer.jobs == replanned


WORKLOADS_TIMED = {"time_workload": 6, "summarise_workloads": 1, **ENDS}
WORKLOAD_CHANGES = {
    "runs": ({"workloads": {"iterations": 5}}, WORKLOADS_TIMED),
    "readers": ({"workloads": {"readers": 4}}, WORKLOADS_TIMED),
    "items of a run": ({"workloads": {"run_items": 16}}, WORKLOADS_TIMED),
    "seed": (
        {"workloads": {"seed": 3}},
        {"prepare_workload": 2, "export_workload": 2, **WORKLOADS_TIMED},
    ),
    "another workload's input": ({"workloads": {"frames": "clip.mp4"}}, {}),
    "server": ({"benchmark": {"server_bound_ms": 20}}, {**TIMED, **ENDS}),
    "limit of another precision": ({"parity": {"limits": {"bf16": 0.1}}}, AFTER_EXPORT),
}


@pytest.mark.parametrize("name", WORKLOAD_CHANGES)
def test_changed_setting_replans_what_it_decides_of_the_workloads(finished_workloads, name):
    change, replanned = WORKLOAD_CHANGES[name]
    changed = finished_workloads.write_config(change, "changed.yaml")
    answer = finished_workloads.snakemake("--dry-run", "--configfile", changed)
    assert answer.returncode == 0, answer.text
    assert answer.jobs == replanned


def stages_with_cores(plan):
    """Return the stages over slides that have more than one core."""
    blocks = re.findall(r"^rule (\w+):\n(.*?)\n\n", plan.text, re.MULTILINE | re.DOTALL)
    stages = {"segment_tissue", "extract_patches", "predict_slides"}
    assert stages <= {rule for rule, _ in blocks}
    return {rule for rule, block in blocks if rule in stages and "threads: 16" in block}


def test_stages_over_slides_need_no_cores_while_slurm_runs_their_workers(workplace):
    words = ("--dry-run", "--cores", "64")
    on_slurm = REPOSITORY / "profiles" / "slurm"
    site = {"site": {"partition": "short", "gpu_partition": "gpu"}}
    workplace.write_config(site, "site.yaml")
    assert len(stages_with_cores(workplace.snakemake(*words, profile=on_slurm))) == 3
    workplace.write_config({**site, "fleet": {"cluster": "slurm"}}, "site.yaml")
    assert stages_with_cores(workplace.snakemake(*words, profile=on_slurm)) == set()
    # Worker jobs have no GPU: the prediction is one job with it.
    workplace.write_config({"predict": {"device": "cuda"}, "parity": {"device": "cuda"}})
    assert stages_with_cores(workplace.snakemake(*words, profile=on_slurm)) == {"predict_slides"}


def test_workers_stay_here_with_all_other_jobs_unless_the_command_line_says_so(workplace):
    words = ("--dry-run", "--cores", "64")
    site = {"site": {"partition": "short"}, "fleet": {"cluster": "slurm"}}
    workplace.write_config(site, "site.yaml")
    assert len(stages_with_cores(workplace.snakemake(*words))) == 3
    asked = workplace.snakemake(*words, "--config", "fleet={cluster: slurm}")
    assert stages_with_cores(asked) == set()


def test_another_fold_makes_no_mask_and_no_patch_again(finished_workplace):
    fold = "split={method: k-fold, folds: 2, fold: 2}"
    answer = finished_workplace.snakemake("--dry-run", "--config", fold)
    assert answer.jobs == {"split_cohort": 1, **AFTER_PATCHES}


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("masks/manifest.tsv", "segment_tissue"),
        ("patches/manifest.tsv", "extract_patches"),
        ("predict/resnet50/manifest.tsv", "predict_slides"),
    ],
)
def test_manifest_that_retry_removed_plans_its_stage_again(finished_workplace, path, rule):
    manifest = finished_workplace.folder / "results" / path
    aside = manifest.rename(manifest.with_name("aside"))
    try:
        assert rule in finished_workplace.snakemake("--dry-run").jobs
    finally:
        aside.rename(manifest)


def test_changed_quality_of_the_slides_builds_only_the_report_again(finished_workplace):
    quality = finished_workplace.folder / "results/masks/quality.tsv"
    before = quality.stat()
    text = quality.read_text()
    try:
        quality.write_text("another")
        assert finished_workplace.snakemake("--dry-run").jobs == ENDS
    finally:
        quality.write_text(text)
        os.utime(quality, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_new_seed_trains_only_that_seed(finished_workplace):
    changed = finished_workplace.write_config({"training": {"seeds": [1, 2]}}, "seeds.yaml")
    answer = finished_workplace.snakemake("--dry-run", "--configfile", changed)
    assert answer.jobs == {**AFTER_JOIN, "train_model": 1}


def test_ten_thousand_slides_plan_the_same_jobs_as_ten_within_ten_seconds(workplace):
    workplace.write_slides(10)
    few = workplace.snakemake("--dry-run").jobs
    workplace.write_slides(10_000)
    before = processor_seconds()
    many = workplace.snakemake("--dry-run").jobs
    assert processor_seconds() - before < 10
    assert many == few != {}


def test_runs_depend_on_the_slide_table_only_where_they_learn_its_columns(workplace):
    target = {"kind": "regression", "columns": ["age"]}
    runs = {"plain": {"model": "resnet18"}, "age": {"model": "resnet18", "target": target}}
    workplace.write_config({"training": {"runs": runs, "use": ["plain", "age"]}})
    workplace.write_table("slide\tpath\tage", "a\ta.svs\t41", "b\tb.svs\t", "c\tc.svs\t50")
    said = workplace.snakemake("--dry-run", "--printshellcmds", "train").text
    commands = [line for line in said.splitlines() if "python -m lamella.training" in line]
    learning = {
        "--run age" in line: "--slides results/cohort/slides.tsv" in line for line in commands
    }
    assert learning == {True: True, False: False}

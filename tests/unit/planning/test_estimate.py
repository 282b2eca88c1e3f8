"""Hours of cores, nodes and GPUs of every stage, and where the rates are from."""

from dataclasses import replace

import pytest

from lamella.cohort.settings import SplitSettings
from lamella.config import Config
from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.planning.cohort_size import CohortSize
from lamella.planning.estimate import estimate, estimate_lines, train_share
from lamella.stores.json_files import write_json
from lamella.stores.tables import write_table

SIZE = CohortSize(
    slides=1000, gigapixels=8.0, patches=3_600_000, most_patches=7_200_000, notes=("a note",)
)


def config(**sections) -> Config:
    training = {
        "backend": "torch",
        "processes": 2,
        "seeds": [1, 2, 3],
        "runs": {"thin": {"model": "resnet50", "epochs": 10}},
        **sections.pop("training", {}),
    }
    return Config.model_validate({"training": training, **sections})


def stages(settings, root):
    return {stage.rule: stage for stage in estimate(settings, SIZE, root)}


def test_default_rates_give_hours_that_can_be_worked_out_by_hand(tmp_path):
    found = stages(config(patches={"size_px": 224}), tmp_path)
    segment, extract = found["segment_tissue"], found["extract_patches"]
    # 0.63 s a gigapixel; 0.377 ms a patch; both on the 16 workers that are the default.
    assert segment.core_hours == pytest.approx(1000 * 8 * 0.63 / 3600)
    assert segment.node_hours == pytest.approx(1000 * 8 * 0.63 / 3600 / 16)
    assert extract.core_hours == pytest.approx(0.377)
    assert extract.disk_gib == pytest.approx(3.6e6 * (224 * 224 * 3 + 64) / 2**30)
    assert (extract.jobs, extract.patches, extract.gpu_hours) == (1, 3_600_000, 0.0)
    # 2/299 s at 64 pixels, 12.25 times the area at 224.
    assert found["predict_slides thin"].core_hours == pytest.approx(1000 * 2 / 569 * 12.25)
    train = found["train_model thin"]
    assert (train.jobs, train.patches) == (3, 3_600_000 * 6 // 10 * 10 * 3)
    hours = train.patches / 16.9 * (224 / 128) ** 2 / 3600
    assert train.core_hours == pytest.approx(hours)
    assert train.node_hours == pytest.approx(hours / 2)
    assert {stage.basis for stage in found.values()} == {"default", "guess"}


def test_workers_in_slurm_jobs_take_nodes_by_their_cores_and_are_renewed(tmp_path):
    fleet = {"cluster": "slurm", "max_workers": 22, "workers_per_job": 5, "worker_memory_mib": 1000}
    settings = config(fleet=fleet, site={"walltime_min": 10}, patches={"size_px": 224})
    found = stages(settings, tmp_path)
    segment, extract = found["segment_tissue"], found["extract_patches"]
    # Four jobs of five workers; two more workers would be no job of that size.
    assert (segment.workers.jobs, segment.workers.cores) == (4, 5)
    assert segment.workers.memory_mib == 5 * 1000 + 512
    # 1.4 core hours on 20 cores are 4.2 min, within the 8 min of a job.
    assert (segment.jobs, extract.jobs) == (4, 4)
    assert segment.node_hours == pytest.approx(segment.core_hours / 5)
    # 1000 * 2/569 * 12.25 core hours are 129.2 min on 20 cores: 17 times 8 min.
    predict = found["predict_slides thin"]
    assert predict.jobs == 4 * 17
    assert predict.node_hours == pytest.approx(1000 * 2 / 569 * 12.25 / 5)

    lines = list(estimate_lines(estimate(settings, SIZE, tmp_path), SIZE))
    jobs = 4 + 4 + 68 + 11
    assert (
        f"with profiles/slurm Snakemake has {jobs} jobs submitted, 76 of them by stages over"
        " slides, which run beside it"
    ) in lines
    assert (
        "segment_tissue: 4 jobs at a time, each of 5 workers (one core each) and 5,512 MiB,"
        " for 0.07 h"
    ) in lines


def test_few_slides_have_no_more_worker_jobs_than_they_keep_busy(tmp_path):
    few = replace(SIZE, slides=6)
    settings = config(fleet={"cluster": "slurm"})
    segment = next(iter(estimate(settings, few, tmp_path)))
    assert (segment.workers.jobs, segment.workers.cores, segment.jobs) == (1, 4, 1)


def test_workers_on_a_gpu_are_one_job_whatever_the_fleet(tmp_path):
    write_manifest(
        tmp_path / "predict/thin/manifest.tsv", [ManifestRow("a", Status.DONE, "a", 50, "f")]
    )
    write_table(
        tmp_path / "predict/thin/timings.tsv",
        ("slide", "seconds", "peak_memory_mib"),
        [{"slide": "a", "seconds": "3.6", "peak_memory_mib": "9"}],
    )
    on_gpu = {"predict": {"device": "cuda"}, "parity": {"device": "cuda"}}
    predict = stages(config(fleet={"cluster": "slurm"}, **on_gpu), tmp_path)["predict_slides thin"]
    assert (predict.jobs, predict.workers) == (1, None)
    # 72 core hours on 16 workers of one node with one GPU.
    assert predict.gpu_hours == predict.node_hours == pytest.approx(3.6e6 * 3.6 / 50 / 3600 / 16)


def test_several_nodes_count_each(tmp_path):
    one = stages(config(), tmp_path)["train_model thin"]
    two = stages(config(training={"nodes": 2}), tmp_path)["train_model thin"]
    assert two.node_hours == pytest.approx(2 * one.node_hours)
    assert two.core_hours == one.core_hours


def test_rates_that_were_measured_in_the_folder_take_the_place_of_defaults(tmp_path):
    for room in ("masks", "patches", "predict/thin"):
        rows = [ManifestRow(name, Status.DONE, name, 50, "f") for name in ("a", "b")]
        write_manifest(tmp_path / room / "manifest.tsv", rows)
        # Of a slide that was done before there is no time.
        write_table(
            tmp_path / room / "timings.tsv",
            ("slide", "seconds", "peak_memory_mib"),
            [{"slide": "a", "seconds": "3.6", "peak_memory_mib": "9"}],
        )
    write_json(
        tmp_path / "train/thin/seed2/metrics.json",
        {
            "settings": {"model": "resnet50"},
            "world_size": 4,
            "patch_px": 112,
            "timings": {"samples_per_s": 40.0},
        },
    )
    found = stages(config(), tmp_path)
    assert found["segment_tissue"].core_hours == pytest.approx(1.0)
    assert found["extract_patches"].core_hours == pytest.approx(3.6e6 * 3.6 / 50 / 3600)
    assert found["predict_slides thin"].core_hours == pytest.approx(3.6e6 * 3.6 / 50 / 3600)
    train = found["train_model thin"]
    # A process did 10 samples a second, of a quarter of the area.
    assert train.core_hours == pytest.approx(train.patches * 0.1 * 4 / 3600)
    assert [found[rule].basis for rule in ("segment_tissue", "train_model thin")] == [
        "masks/timings.tsv",
        "train/thin/seed2",
    ]


def test_measurement_of_another_network_is_not_taken(tmp_path):
    metrics = {
        "settings": {"model": "resnet18"},
        "world_size": 1,
        "patch_px": 224,
        "timings": {"samples_per_s": 900.0},
    }
    write_json(tmp_path / "train/thin/seed1/metrics.json", metrics)
    assert stages(config(), tmp_path)["train_model thin"].basis == "default"


def test_on_a_gpu_nothing_is_guessed_and_everything_measured_counts(tmp_path):
    settings = config(training={"device": "cuda"})
    train = stages(settings, tmp_path)["train_model thin"]
    assert (train.core_hours, train.node_hours, train.gpu_hours) == (None, None, None)
    lines = list(estimate_lines(estimate(settings, SIZE, tmp_path), SIZE))
    (total,) = (line for line in lines if line.startswith("all "))
    assert total.split()[-3:] == ["?", "?", "?"]
    assert any(line.startswith("?: nothing was measured on a GPU yet") for line in lines)

    metrics = {
        "settings": {"model": "resnet50"},
        "world_size": 1,
        "patch_px": 224,
        "timings": {"samples_per_s": 1000.0},
    }
    write_json(tmp_path / "train/thin/seed1/metrics.json", metrics)
    train = stages(settings, tmp_path)["train_model thin"]
    assert train.gpu_hours == pytest.approx(train.patches / 1000 / 3600)


def test_number_of_jobs_follows_runs_seeds_cases_and_engines(tmp_path):
    found = stages(config(), tmp_path)
    jobs = {rule: stage.jobs for rule, stage in found.items()}
    assert (jobs["train_model thin"], jobs["export_model"], jobs["benchmark_engine"]) == (3, 1, 3)
    assert sum(jobs.values()) == 14


def test_every_precision_is_a_job_of_the_benchmark(tmp_path):
    both = {"precisions": ["f32", "bf16"]}
    found = stages(config(parity=both, benchmark=both), tmp_path)
    assert found["benchmark_engine"].jobs == 6


def test_workloads_of_the_benchmark_are_jobs_of_their_own(tmp_path):
    cases = {"cases": ["ct", "wsi"], "precisions": ["f32"]}
    jobs = {rule: stage.jobs for rule, stage in stages(config(benchmark=cases), tmp_path).items()}
    assert "benchmark_engine" not in jobs
    rules = ("prepare_workload", "export_workload", "time_workload")
    assert [jobs[rule] for rule in rules] == [2, 2, 6]


def test_lines_sum_the_stages_and_say_what_they_rest_on(tmp_path):
    lines = list(estimate_lines(estimate(config(), SIZE, tmp_path), SIZE))
    assert lines[0].split()[:3] == ["jobs", "patches", "disk"]
    (extract,) = (line for line in lines if line.startswith("extract_patches"))
    assert extract.split() == ["extract_patches", "1", "3,600,000", "504.90", *extract.split()[4:]]
    assert "a note" in lines
    assert any("3,600,000 patches expected, 7,200,000 at most" in line for line in lines)
    assert any(line.startswith("default: measured on two cores") for line in lines)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        (SplitSettings(), 0.6),
        (SplitSettings(method="k-fold", folds=5, fold=1), 0.8 * 0.75),
        (SplitSettings(method="leave-one-centre-out", centre="a"), 0.75),
    ],
)
def test_share_that_is_trained_on(settings, share):
    assert train_share(settings) == pytest.approx(share)

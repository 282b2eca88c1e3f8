"""What MLflow is told has names that MLflow takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from lamella.training.checkpoint import Progress
from lamella.training.tracked import training_record, usage_metrics


def test_metrics_of_a_class_with_a_free_name_and_limits_of_the_auc_are_told():
    split = {
        "n": 4,
        "auc": None,
        "intervals": {"auc": None, "loss": [0.1, 0.2]},
        "bootstrap": {"patients": 3},
        "classes": {"grade (3+4)": {"f1": 0.5, "auc": None}, "intervals": {"f1": 0.25}},
        "confusion": [[4]],
        "slide": {"n": 2, "remark": "", "mean": None, "max": {"intervals": {"auc": [0.25, 0.75]}}},
    }
    facts = dict.fromkeys(
        ("run", "seed", "patch_px", "mpp", "backend", "world_size", "index_digest"), "x"
    )
    progress = Progress()
    progress.best_epoch, progress.history = 7, [{"epoch": 9, "ended_ms": 5}]
    record = training_record(
        {**facts, "patch_px": 32, "settings": {}, "classes": [], "validation": {}, "test": split},
        progress,
        index=Path("index.parquet"),
        started_ms=1,
    )
    assert {metric.key: metric.value for metric in record.metrics} == {
        "best_epoch": 7,
        "best/test_n": 4,
        "best/test_classes_grade _3_4__f1": 0.5,
        "best/test_classes_intervals_f1": 0.25,
        "best/test_slide_n": 2,
        "best/test_slide_max_auc_low": 0.25,
        "best/test_slide_max_auc_high": 0.75,
    }
    assert {metric.step for metric in record.metrics} == {7}
    assert {metric.key for metric in record.metrics if not metric.of_model} == {"best_epoch"}


def test_use_of_every_rank_has_the_names_of_system_metrics_of_several_nodes():
    progress = Progress(
        epoch=2,
        history=[{"epoch": 1, "ended_ms": 10}, {"epoch": 2, "ended_ms": 20}],
        usage=[[{"cpu_utilization_percentage": 90.0}, {"cpu_utilization_percentage": 80.0}]] * 2,
    )
    assert [
        (metric.key, metric.value, metric.step, metric.timestamp_ms)
        for metric in usage_metrics(progress)
    ] == [
        ("system/rank0/cpu_utilization_percentage", 90.0, 1, 10),
        ("system/rank1/cpu_utilization_percentage", 80.0, 1, 10),
        ("system/rank0/cpu_utilization_percentage", 90.0, 2, 20),
        ("system/rank1/cpu_utilization_percentage", 80.0, 2, 20),
    ]
    assert usage_metrics(replace(progress, usage=[])) == []
    with pytest.raises(ValueError, match="zip"):
        usage_metrics(replace(progress, usage=progress.usage[:1]))

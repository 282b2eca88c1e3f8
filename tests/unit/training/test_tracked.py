"""What MLflow is told has names that MLflow takes."""

from pathlib import Path

from lamella.training.checkpoint import Progress
from lamella.training.tracked import training_record


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
        {**facts, "settings": {}, "validation": {}, "test": split},
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

from pathlib import Path

import pytest

from lamella.errors import ExportError
from lamella.export.choose import choose_seed
from lamella.export.settings import SelectionMetric
from lamella.stores.json_files import write_json


def metrics_of(folder: Path, seed: int, **validation: float | None) -> Path:
    path = folder / f"seed{seed}" / "metrics.json"
    write_json(
        path,
        {"seed": seed, "index_digest": "ab", "validation": validation, "test": {"auc": 1.0 / seed}},
    )
    return path


def test_the_best_validation_figure_wins_whatever_the_test_figure_is(tmp_path):
    paths = [metrics_of(tmp_path, 1, auc=0.7), metrics_of(tmp_path, 2, auc=0.9)]
    chosen = choose_seed(paths, SelectionMetric.AUC)
    assert (chosen.seed, chosen.value, chosen.metrics) == (2, 0.9, paths[1])


def test_the_metric_of_the_settings_decides(tmp_path):
    paths = [
        metrics_of(tmp_path, 1, auc=0.7, accuracy=0.8),
        metrics_of(tmp_path, 2, auc=0.9, accuracy=0.6),
    ]
    assert choose_seed(paths, SelectionMetric.ACCURACY).seed == 1


def test_the_lowest_of_equal_seeds_wins_in_any_order(tmp_path):
    paths = [metrics_of(tmp_path, seed, auc=0.9) for seed in (12, 3, 7)]
    assert choose_seed(paths, SelectionMetric.AUC).seed == 3


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_seed_without_the_figure_never_wins(tmp_path, missing):
    paths = [metrics_of(tmp_path, 1, auc=missing), metrics_of(tmp_path, 2, auc=0.1)]
    assert choose_seed(paths, SelectionMetric.AUC).seed == 2


def test_a_single_seed_is_taken_without_a_figure(tmp_path):
    chosen = choose_seed([metrics_of(tmp_path, 5, auc=None)], SelectionMetric.AUC)
    assert (chosen.seed, chosen.value) == (5, None)


def test_several_seeds_without_the_figure_are_refused(tmp_path):
    paths = [metrics_of(tmp_path, seed, auc=None) for seed in (1, 2)]
    with pytest.raises(
        ExportError, match=r"none of the 2 seeds has a validation auc.*export.metric"
    ):
        choose_seed(paths, SelectionMetric.AUC)


def test_of_seeds_that_learned_numbers_the_lowest_loss_wins_and_is_named(tmp_path):
    paths = [metrics_of(tmp_path, seed, loss=loss, mae=1.0) for seed, loss in ((1, 0.9), (2, 0.4))]
    chosen = choose_seed(paths, SelectionMetric.AUC)
    assert (chosen.seed, chosen.metric, chosen.value) == (2, "loss", 0.4)

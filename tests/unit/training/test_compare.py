"""Two runs are compared seed by seed, patient by patient."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from lamella.cli import main
from lamella.errors import StoreError
from lamella.stores.json_files import write_json
from lamella.training.compare import compare_runs

PATIENTS = 8
LABELS = np.tile([0, 1, 1, 0, 0, 1], PATIENTS)


def tumor_of(skill: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, len(LABELS))
    return 1 / (1 + np.exp(-skill * (LABELS - 0.5) - noise))


def write_seed(run, seed, skill, *, judged=True, shift=0):
    tumor = tumor_of(skill, seed)
    slides = np.repeat([f"s{number}" for number in range(2 * PATIENTS)], 3)
    half = {
        "slide": slides,
        "patient": np.repeat([f"p{number}" for number in range(PATIENTS)], 6),
        # The first slide of each patient is normal, the second tumour.
        "slide_label": np.tile(np.repeat(["normal", "tumor"], 3), PATIENTS),
        "x": np.arange(len(LABELS)) + shift,
        "y": 0,
        "label": LABELS,
        "probability_normal": 1 - tumor,
        "probability_tumor": tumor,
    }
    table = pd.concat([pd.DataFrame(half).assign(split=name) for name in ("validation", "test")])
    folder = run / f"seed{seed}"
    folder.mkdir(parents=True)
    table.reset_index(drop=True).to_parquet(folder / "predictions.parquet", index=False)
    level = {"top_k": {} if judged else None}
    split = {"slide": level, "patient": level}
    write_json(
        folder / "metrics.json",
        {"classes": ["normal", "tumor"], "validation": split, "test": split},
    )


@pytest.fixture
def runs(tmp_path):
    for seed in (1, 2):
        write_seed(tmp_path / "good", seed, 3.0)
        write_seed(tmp_path / "bad", seed, 0.5)
    return tmp_path


def found_in(comparisons, *names):
    return next(
        each.difference for each in comparisons if (each.split, each.level, each.metric) == names
    )


def test_figures_are_means_over_the_seeds_and_a_clear_difference_has_a_small_p(runs):
    found = compare_runs(runs / "good", runs / "bad")
    patches = found_in(found, "test", "patch", "auc")
    means = [
        np.mean([sk.roc_auc_score(LABELS, tumor_of(skill, seed)) for seed in (1, 2)])
        for skill in (3.0, 0.5)
    ]
    assert (patches.first, patches.second) == pytest.approx(means, abs=1e-7)
    assert patches.p < 0.02
    # Three patches a slide: the highest is its score.
    score = [
        tumor_of(0.5, 1).reshape(-1, 3).max(axis=1),
        tumor_of(0.5, 2).reshape(-1, 3).max(axis=1),
    ]
    expected = np.mean([sk.roc_auc_score([0, 1] * PATIENTS, each) for each in score])
    slides = found_in(found, "validation", "slide", "auc")
    assert slides.second == pytest.approx(expected, abs=1e-7)
    # All patients are tumour.
    assert {each.metric for each in found if each.level == "patient"} == {"balanced_accuracy"}


def test_seeds_that_one_run_lacks_are_left_out(runs):
    write_seed(runs / "good", 3, 3.0)
    with_more = found_in(compare_runs(runs / "good", runs / "bad"), "test", "patch", "auc")
    expected = np.mean([sk.roc_auc_score(LABELS, tumor_of(3.0, seed)) for seed in (1, 2)])
    assert with_more.first == pytest.approx(expected, abs=1e-7)


def test_levels_that_were_not_judged_are_not_compared(tmp_path):
    write_seed(tmp_path / "a", 1, 1.0, judged=False)
    write_seed(tmp_path / "b", 1, 2.0, judged=False)
    assert {each.level for each in compare_runs(tmp_path / "a", tmp_path / "b")} == {"patch"}


def test_runs_on_other_patches_without_a_common_seed_or_unfinished_are_refused(tmp_path):
    write_seed(tmp_path / "a", 1, 1.0)
    write_seed(tmp_path / "moved", 1, 1.0, shift=1)
    write_seed(tmp_path / "later", 2, 1.0)
    with pytest.raises(StoreError, match="moved: the runs were judged on different patches"):
        compare_runs(tmp_path / "a", tmp_path / "moved")
    with pytest.raises(StoreError, match="no seed is in both: seed1 there, seed2 here"):
        compare_runs(tmp_path / "a", tmp_path / "later")
    with pytest.raises(StoreError, match="absent: there is no finished training"):
        compare_runs(tmp_path / "a", tmp_path / "absent")


def test_the_command_prints_a_line_for_each_comparison(runs, capsys):
    assert main(["compare-runs", str(runs / "good"), str(runs / "bad")]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["split", "level", "metric", "good", "bad", "p"]
    # Two splits, three metrics of patches and slides, one of patients.
    assert len(lines) == 14
    patches = found_in(compare_runs(runs / "good", runs / "bad"), "test", "patch", "auc")
    expected = ["test", "patch", "auc", f"{patches.first:.4f}", f"{patches.second:.4f}"]
    assert [*expected, f"{patches.p:.3f}"] in [line.split() for line in lines]

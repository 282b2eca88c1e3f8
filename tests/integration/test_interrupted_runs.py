"""A run that is killed again and again ends in the same results as an undisturbed one."""

import csv
from collections.abc import Callable
from pathlib import Path

import h5py
import pandas as pd
import pytest
import torch

from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.fleet.manifest import read_manifest
from lamella.patches.index import read_index

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(1800)]

RUN = {
    "model": "test_resnet",
    "epochs": 3,
    "batch_size": 8,
    "sampling": "balanced",
    "patches_per_epoch": 64,
}


def settings(table: Path) -> dict[str, object]:
    return {
        "slides": str(table),
        "patches": {"size_px": 64, "mpp": 0.5, "sampling": "random", "per_class": 40},
        "training": {"backend": "horovod", "processes": 2, "runs": {"small": RUN}},
    }


def shards(work) -> dict[str, dict[str, bytes]]:
    found = {}
    for row in read_manifest(work / "patches/manifest.tsv").values():
        with h5py.File(work / "patches" / row.path) as file:
            found[row.slide] = {name: file[name][...].tobytes() for name in sorted(file)}
            found[row.slide]["attributes"] = str(sorted(file.attrs.items())).encode()
    return found


def table(work) -> pd.DataFrame:
    return read_index(work / "patches/index.parquet").table


def weights(work) -> dict[str, torch.Tensor]:
    best = torch.load(work / "train/small/seed1/best.pt", weights_only=True)
    return best["network"]


def curves(work) -> list[tuple[str, ...]]:
    with (work / "train/small/seed1/history.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [(row["epoch"], row["train_loss"], row["validation_auc"]) for row in rows]


def test_killed_five_times_it_ends_as_undisturbed(tmp_path: Path, workfolder) -> None:
    drawing = DrawingSettings(
        slides=6, slides_per_patient=1, width_um=700, height_um=500, seed=3, processes=2
    )
    draw_cohort(tmp_path / "drawn", drawing)
    config = settings(tmp_path / "drawn/slides.tsv")
    undisturbed, disturbed = workfolder("undisturbed", config), workfolder("disturbed", config)
    assert undisturbed.run("export") == 0, undisturbed.log

    def there(pattern: str, at_least: int = 1) -> Callable[[], bool]:
        return lambda: len(list((disturbed / ".").glob(pattern))) >= at_least

    moments = {
        "some masks are there": there("masks/slides/[!.]*.png", 2),
        "some shards are there": there("patches/slides/[!.]*.h5", 2),
        "patches are extracted": there("patches/manifest.tsv"),
        "an epoch is trained": there("train/small/seed1/state/[!.]*"),
        "a network is trained": there("train/small/seed1/metrics.json"),
    }
    for moment, happened in moments.items():
        assert disturbed.kill_when(happened, "export"), f"it ended before {moment}"
    assert not (disturbed / "export/small/parity.tsv").exists()
    assert disturbed.run("export") == 0, disturbed.log

    assert shards(disturbed) == shards(undisturbed)
    assert table(disturbed).equals(table(undisturbed))
    assert curves(disturbed) == curves(undisturbed)
    killed, whole = weights(disturbed), weights(undisturbed)
    assert killed.keys() == whole.keys()
    assert all(torch.equal(killed[name], whole[name]) for name in whole)
    leftovers = [path.name for path in (disturbed / ".").rglob(".*.h5")]
    assert leftovers == []

    assert disturbed.run("export") == 0
    assert "Nothing to be done" in disturbed.log

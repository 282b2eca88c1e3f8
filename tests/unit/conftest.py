"""A small cohort of drawn patches, a network trained on it by hand, and its export: made once."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

# Else torch.compile keeps processes that are still there when a later test is looked at.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

PATCH_PX = 48
MPP = 0.5
CLASSES = ("normal", "tumor")


@dataclass(frozen=True)
class Results:
    """The files of a small results folder."""

    index: Path
    metrics: tuple[Path, ...]
    export_folder: Path


@pytest.fixture(scope="session")
def onnx2tf(tmp_path_factory) -> Path:
    """The file that names the Python of onnx2tf's environment, made where it is not there yet."""
    program = Path(__file__).parents[2] / "scripts" / "onnx2tf.sh"
    made = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True)
    named = tmp_path_factory.mktemp("onnx2tf") / "onnx2tf.txt"
    named.write_text(made.stdout)
    return named


@pytest.fixture(scope="session")
def results(tmp_path_factory, onnx2tf) -> Results:
    """Patches, two trained seeds of the run ``tiny`` (the second is better), and the export."""
    from lamella.export.description import ModelFormat
    from lamella.export.export import export_model
    from lamella.export.settings import ExportSettings
    from lamella.tracking.settings import TrackingSettings

    root = tmp_path_factory.mktemp("results")
    index, pixels = _write_patches(root / "patches")
    metrics = (
        _write_training(root / "train" / "tiny" / "seed1", pixels, seed=1, auc=0.75),
        _write_training(root / "train" / "tiny" / "seed2", pixels, seed=2, auc=0.875),
    )
    folder = root / "export" / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamella.export.export.track", lambda *_: None)
        export_model(
            metrics=metrics,
            folder=folder,
            run="tiny",
            formats=tuple(ModelFormat),
            settings=ExportSettings(),
            tracking=TrackingSettings(),
            onnx2tf=[onnx2tf],
        )
    return Results(index, metrics, folder)


def _write_patches(folder: Path) -> tuple[Path, np.ndarray]:
    from lamella.patches.index import PatchIndex, write_index
    from lamella.stores.codec import Codec
    from lamella.stores.shards import PatchColumns, write_shard

    parts, pixels = [], []
    for slide, split, n in (("a", "train", 9), ("b", "validation", 14), ("c", "test", 23)):
        label = (np.arange(n) % 3 == 0).astype(np.int16)
        patches = _draw_patches(label, seed=n)
        columns = PatchColumns(
            x=np.arange(n, dtype=np.int64) * 96,
            y=np.arange(n, dtype=np.int64) * 7,
            tissue_share=np.ones(n, dtype=np.float32),
            tumor_share=label.astype(np.float32),
            label=label,
        )
        write_shard(
            folder / "slides" / f"{slide}.h5",
            columns,
            [patches],
            patch_px=PATCH_PX,
            codec=Codec.NONE,
            attributes={"fingerprint": slide, "slide": slide},
        )
        rows = {"slide": slide, "patient": slide, "centre": "", "slide_label": "", "split": split}
        parts.append(
            pd.DataFrame(
                {**vars(columns), "row": np.arange(n), "shard": f"slides/{slide}.h5", **rows}
            )
        )
        pixels.append(patches)
    table = pd.concat(parts, ignore_index=True)
    path = folder / "index.parquet"
    write_index(path, PatchIndex(table, CLASSES, PATCH_PX, MPP, "d1" * 32, folder))
    return path, np.concatenate(pixels)


def _draw_patches(label: np.ndarray, *, seed: int) -> np.ndarray:
    """Pink noise that fades to the right; patches of label 1 have a dark corner at the top left."""
    generator = np.random.default_rng(seed)
    patches = generator.integers(120, 255, (len(label), PATCH_PX, PATCH_PX, 3))
    patches[..., 1] //= 2
    patches += np.linspace(0, -60, PATCH_PX, dtype=np.int64)[None, None, :, None]
    patches[label == 1, :20, :12] //= 3
    return patches.clip(0, 255).astype(np.uint8)


def _write_training(folder: Path, pixels: np.ndarray, *, seed: int, auc: float) -> Path:
    import torch

    from lamella.models.networks import build_network
    from lamella.models.preprocess import Preprocessing
    from lamella.models.weights import stored_weights
    from lamella.stores.json_files import write_json
    from lamella.training.checkpoint import TrainedModel, save_trained
    from lamella.training.settings import RunSettings

    torch.manual_seed(seed)
    network, preprocessing = build_network("test_resnet", len(CLASSES)), Preprocessing()
    with torch.no_grad():
        # Statistics of batch normalisation from real patches, and answers far from 0.5.
        for _ in range(20):
            network.train()(preprocessing(torch.from_numpy(pixels)))
        logits = network.eval()(preprocessing(torch.from_numpy(pixels)))
        network.get_classifier().weight /= logits.std(dim=0).mean() / 2
    model = TrainedModel(
        weights=stored_weights(network),
        name="tiny",
        seed=seed,
        classes=CLASSES,
        patch_px=PATCH_PX,
        mpp=MPP,
        run=RunSettings(model="test_resnet"),
        epoch=3,
        index_digest="d1" * 32,
    )
    save_trained(folder / "best.pt", model)
    figures = {"auc": auc, "accuracy": 0.5, "balanced_accuracy": None, "average_precision": 0.5}
    path = folder / "metrics.json"
    write_json(
        path,
        {"run": "tiny", "seed": seed, "index_digest": "d1" * 32, "validation": figures},
    )
    return path

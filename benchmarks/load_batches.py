"""Compare what it costs to load shuffled batches, and what each augmentation adds.

    python benchmarks/load_batches.py --slide slide.svs

Cuts a slide (without ``--slide`` one is drawn) into patches, keeps the half with the most contrast,
which is dense tissue, and stores them, repeated as often as needed, in eight shards of each kind
and as PNG files. Then goes through all of them in one random order, batches of 32, the ways in
turns, several times; warm file cache, one thread for the arithmetic. Prints medians of the
processor time per patch over all threads, the least, and the median of its ratio to ``h5py[i]`` in
the same turn. The lines below ``augmentation`` are one kind of change alone, without reading.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lamella.datasets.augment import augmented
from lamella.datasets.batches import Schedule, training_batches
from lamella.datasets.patches import PatchDataset
from lamella.datasets.settings import AugmentSettings, Sampling
from lamella.datasets.targets import class_targets
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.patches.index import PatchIndex
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.stores.codec import Codec, Storage
from lamella.stores.jpeg import encode_jpeg
from lamella.stores.shards import PatchColumns, write_encoded_shard, write_shard

BATCH = 32
SHARDS = 8
STILL = {"flip": False, "turn": False}
# Strong enough that the cost shows: it depends on the amount for blur alone.
KINDS = {
    "none": {},
    "flip": {"flip": True},
    "turn": {"turn": True},
    "hed_jitter": {"hed_jitter": 0.05},
    "rotation_deg": {"rotation_deg": 180},
    "scale_jitter": {"scale_jitter": 0.2},
    "elastic_px": {"elastic_px": 10},
    "rotation, scale and elastic": {"rotation_deg": 180, "scale_jitter": 0.2, "elastic_px": 10},
    "brightness_jitter": {"brightness_jitter": 0.1},
    "contrast_jitter": {"contrast_jitter": 0.1},
    "saturation_jitter": {"saturation_jitter": 0.1},
    "hue_deg": {"hue_deg": 10},
    "these four": {
        "brightness_jitter": 0.1,
        "contrast_jitter": 0.1,
        "saturation_jitter": 0.1,
        "hue_deg": 10,
    },
    "blur_px: 1": {"blur_px": 1},
    "blur_px: 3": {"blur_px": 3},
    "noise_levels": {"noise_levels": 5},
    "jpeg_quality_min": {"jpeg_quality_min": 50},
    "dropout_holes": {"dropout_holes": 4},
}
KINDS["all"] = {name: value for kind in KINDS.values() for name, value in kind.items()}
KINDS["all"]["blur_px"] = 1


class Pngs(Dataset):
    """A folder of PNG files, as torch's users read it."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        with Image.open(self.files[place]) as image:
            return torch.from_numpy(np.array(image.convert("RGB")))


def cut_patches(slide: Path, size_px: int) -> np.ndarray:
    """Return the half of a slide's patches that has the most contrast."""
    with SlideReader(slide, DEFAULT_READING) as reader:
        width, height = reader.size_l0
        corners = [
            (x, y)
            for y in range(0, height - size_px + 1, size_px)
            for x in range(0, width - size_px + 1, size_px)
        ]
        plan = reader.plan(mpp=reader.mpp_l0, size_px=size_px)
        patches = [reader.read_patch(x, y, plan) for x, y in corners]
    contrast = [patch.std() for patch in patches]
    return np.stack([patches[place] for place in np.argsort(contrast)[len(patches) // 2 :]])


def columns(n: int) -> PatchColumns:
    ones = np.ones(n, dtype=np.float32)
    return PatchColumns(np.arange(n), np.arange(n), ones, ones, np.zeros(n, dtype=np.int16))


def store(folder: Path, patches: np.ndarray, encode: Callable[[np.ndarray], bytes] | None) -> None:
    """Write the patches into shards, raw or encoded."""
    for number, part in enumerate(np.array_split(patches, SHARDS)):
        path, size = folder / f"{number}.h5", part.shape[1]
        about = {"patch_px": size, "attributes": {"fingerprint": "made"}}
        if encode is None:
            write_shard(path, columns(len(part)), [part], codec=Codec.NONE, **about)
        else:
            encoded = [encode(patch) for patch in part]
            write_encoded_shard(path, columns(len(part)), encoded, storage=Storage.JPEG, **about)


def index_of(folder: Path, n: int, size_px: int) -> PatchIndex:
    rows = np.array_split(np.arange(n), SHARDS)
    table = pd.concat(
        [
            pd.DataFrame({"shard": f"{number}.h5", "row": np.arange(len(part))})
            for number, part in enumerate(rows)
        ],
        ignore_index=True,
    ).assign(split="train", label=0)
    return PatchIndex(table, ("all",), size_px, 0.5, "d", folder)


def read_plain(folder: Path, order: np.ndarray) -> None:
    files = [h5py.File(folder / f"{number}.h5") for number in range(SHARDS)]
    which = np.concatenate([np.full(len(file["patches"]), k) for k, file in enumerate(files)])
    rows = np.concatenate([np.arange(len(file["patches"])) for file in files])
    patches = [file["patches"] for file in files]
    for start in range(0, len(order), BATCH):
        np.stack([patches[which[i]][rows[i]] for i in order[start : start + BATCH].tolist()])
    for file in files:
        file.close()


def read_pngs(folder: Path, order: np.ndarray) -> None:
    for _ in DataLoader(Pngs(folder), batch_size=BATCH, sampler=order.tolist(), num_workers=0):
        pass


def read_ours(index: PatchIndex, order: np.ndarray) -> None:
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=32)
    for start in range(0, len(order), BATCH):
        dataset.read(order[start : start + BATCH])
    dataset.close()


def load_ours(index: PatchIndex) -> None:
    """Read ahead in a thread, mirror and turn: what a training does by default."""
    dataset = PatchDataset(index, class_targets(index), "train", max_open_shards=32)
    schedule = Schedule(BATCH, 1, 1, Sampling.NATURAL, None, AugmentSettings())
    for _ in training_batches(dataset, schedule, epoch=1, rank=0):
        pass
    dataset.close()


def cpu_ms(work: Callable[[], object], patches: int) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000 / patches


def medians(
    works: dict[str, Callable[[], object]], floor: str, *, patches: int, runs: int
) -> Iterator[tuple[str, str, float]]:
    """Yield name, ms per patch, and how many times that of ``floor``."""
    turns = [{name: cpu_ms(work, patches) for name, work in works.items()} for _ in range(runs)]
    for name in works:
        ratio = statistics.median(turn[name] / turn[floor] for turn in turns)
        each = [turn[name] for turn in turns]
        yield name, f"{statistics.median(each):.3f} ms a patch (from {min(each):.3f})", ratio


def reading_works(folder: Path, patches: np.ndarray) -> dict[str, Callable[[], object]]:
    """Store the patches in every way; return how each is gone through."""
    order = np.random.default_rng(0).permutation(len(patches))
    encoders: dict[str, Callable[[np.ndarray], bytes] | None] = {
        "pixels": None,
        "jpeg, quality 95": partial(encode_jpeg, quality=95),
        "jpeg, quality 95, common tables": partial(encode_jpeg, quality=95, own_tables=False),
        "jpeg, quality 90": partial(encode_jpeg, quality=90),
        "jpeg, quality 90, 4:2:0": partial(encode_jpeg, quality=90, subsampling="420"),
    }
    (folder / "png").mkdir()
    for place, patch in enumerate(patches):
        Image.fromarray(patch).save(folder / f"png/{place:05d}.png")
    works: dict[str, Callable[[], object]] = {
        "h5py[i]": partial(read_plain, folder / "pixels", order),
        "folder of PNG, torch DataLoader": partial(read_pngs, folder / "png", order),
    }
    for name, encode in encoders.items():
        store(folder / name, patches, encode)
        index = index_of(folder / name, len(patches), patches.shape[1])
        works[name] = partial(read_ours, index, order)
        if name in {"pixels", "jpeg, quality 95"}:
            works[f"{name}, batches of a training"] = partial(load_ours, index)
    return works


def augmenting_works(patches: np.ndarray) -> dict[str, Callable[[], object]]:
    samples = np.arange(len(patches))
    return {
        name: partial(
            augmented,
            patches,
            samples,
            seed=1,
            epoch=1,
            settings=AugmentSettings(**{**STILL, **kind}),
        )
        for name, kind in KINDS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="instead of a drawn one")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--patches", type=int, default=640)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = arguments.slide or folder / "slide.svs"
        if arguments.slide is None:
            draw_slide(slide, SlideSpec(1500, 1500))
        cut = cut_patches(slide, arguments.size_px)
        patches = np.resize(cut, (arguments.patches, *cut.shape[1:]))
        works = reading_works(folder, patches)
        print(f"{len(cut)} different patches, {len(patches)} in all, {arguments.runs} turns")
        for way, ms, ratio in medians(works, "h5py[i]", patches=len(patches), runs=arguments.runs):
            files = list((folder / way).glob("*.h5"))
            size = sum(file.stat().st_size for file in files) / len(patches) / 1024
            print(f"{way:38} {ms}, {ratio:.2f} x h5py[i], {size:.1f} KiB a patch")
        print("augmentation")
        some = patches[: 2 * BATCH]
        for kind, ms, _ in medians(
            augmenting_works(some), "none", patches=len(some), runs=arguments.runs
        ):
            print(f"{kind:38} {ms}")


if __name__ == "__main__":
    main()

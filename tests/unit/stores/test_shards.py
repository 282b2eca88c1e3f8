"""The HDF5 layout of one slide's patches."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from lamella.errors import StoreError
from lamella.stores.checksum import Checksum
from lamella.stores.codec import Codec, Storage
from lamella.stores.jpeg import encode_jpeg
from lamella.stores.shards import (
    PatchColumns,
    ShardReader,
    read_stored,
    write_coordinates,
    write_encoded_shard,
    write_shard,
)

ATTRIBUTES = {"fingerprint": "f" * 64, "slide": "a", "classes": ["normal", "tumor"]}


def columns(n: int) -> PatchColumns:
    count = np.arange(n)
    return PatchColumns(
        x=count * 10,
        y=count * 100,
        tissue_share=np.linspace(0, 1, n, dtype=np.float32),
        tumor_share=np.full(n, np.nan, dtype=np.float32),
        label=(count % 3 - 1).astype(np.int16),
    )


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def write(path: Path, n: int, codec: Codec = Codec.NONE) -> np.ndarray:
    patches = pixels(n)
    batches = (patches[start : start + 4] for start in range(0, n, 4))
    write_shard(path, columns(n), batches, patch_px=16, codec=codec, attributes=ATTRIBUTES)
    return patches


@pytest.mark.parametrize("codec", list(Codec))
def test_pixels_come_back_in_any_order_with_repeats(tmp_path: Path, codec: Codec) -> None:
    patches = write(tmp_path / "a.h5", 7, codec)
    rows = np.array([6, 0, 3, 3])
    with ShardReader(tmp_path / "a.h5") as shard:
        assert len(shard) == 7
        assert np.array_equal(shard.read(rows), patches[rows])
        assert shard.column("y").tolist() == [0, 100, 200, 300, 400, 500, 600]


def test_layout_is_the_documented_one(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", 5)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["patches"].chunks == (1, 16, 16, 3)
        assert [axis.label for axis in file["patches"].dims] == [
            "patch",
            "row",
            "column",
            "channel",
        ]
        for name in ("patches", "x", "y", "tissue_share", "tumor_share", "label"):
            assert file[name].dims[0][0].name == "/patch_id"
        assert [file[name].dtype for name in ("x", "tissue_share", "label")] == ["i8", "f4", "i2"]
        assert file.attrs["complete"]


def test_slide_without_patches_has_a_valid_empty_shard(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", 0)
    with ShardReader(tmp_path / "a.h5") as shard:
        assert len(shard) == 0
        assert shard.read(np.array([], dtype=np.int64)).shape == (0, 16, 16, 3)
    stored = read_stored(tmp_path / "a.h5")
    assert stored is not None
    assert stored.n == 0


def test_truncated_shard_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, 9)
    path.write_bytes(path.read_bytes()[:2000])
    assert read_stored(path) is None
    with pytest.raises(StoreError, match=r"a\.h5: the shard cannot be used"):
        ShardReader(path)


@pytest.mark.parametrize(("name", "value"), [("storage", "strange"), ("n", "many")])
def test_attributes_that_make_no_sense_are_damage(tmp_path: Path, name: str, value: str) -> None:
    write(tmp_path / "a.h5", 3)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs[name] = value
    with pytest.raises(StoreError, match=r"a\.h5: the shard cannot be used"):
        ShardReader(tmp_path / "a.h5")


@pytest.mark.parametrize("error", [KeyError, OSError, RuntimeError])
def test_attributes_that_cannot_be_read_are_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("Unable to synchronously open attribute")

    write(tmp_path / "a.h5", 3)
    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", fail)
    assert read_stored(tmp_path / "a.h5") is None
    with pytest.raises(StoreError, match="the shard cannot be used"):
        ShardReader(tmp_path / "a.h5")


def test_too_few_pixels_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="3 patches were read, 5 expected"):
        write_shard(
            tmp_path / "a.h5",
            columns(5),
            [pixels(3)],
            patch_px=16,
            codec=Codec.NONE,
            attributes=ATTRIBUTES,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [pixels(5).astype(np.int16), np.zeros((5, 16, 12, 3), dtype=np.uint8)]
)
def test_pixels_of_another_shape_or_type_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    # HDF5 takes any bytes for a chunk.
    about = {"patch_px": 16, "codec": Codec.NONE, "attributes": ATTRIBUTES}
    with pytest.raises(ValueError, match=r"not \(16, 16, 3\) uint8"):
        write_shard(tmp_path / "a.h5", columns(5), [wrong], **about)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", list(Codec))
def test_pixels_that_lie_apart_are_stored_too(tmp_path: Path, codec: Codec) -> None:
    apart = pixels(5)[:, ::-1]
    about = {"patch_px": 16, "codec": codec, "attributes": ATTRIBUTES}
    write_shard(tmp_path / "a.h5", columns(5), [apart], **about)
    with ShardReader(tmp_path / "a.h5") as shard:
        assert np.array_equal(shard.read(np.arange(5)), apart)
        shard.verify()


def smooth(n: int) -> np.ndarray:
    """Patches that JPEG keeps well: a slope in each direction, another colour each."""
    rows, across = np.arange(16)[:, None], np.arange(16)[None, :]
    planes = np.stack(np.broadcast_arrays(rows * 8, across * 9, 60), axis=-1)
    return (planes + np.arange(n)[:, None, None, None] * 10).astype(np.uint8)


def write_jpeg(path: Path, n: int) -> np.ndarray:
    patches = smooth(n)
    write_encoded_shard(
        path,
        columns(n),
        (encode_jpeg(patch, 95) for patch in patches),
        storage=Storage.JPEG,
        patch_px=16,
        attributes=ATTRIBUTES,
    )
    return patches


def test_jpegs_come_back_in_any_order_and_any_program_can_read_them(tmp_path: Path) -> None:
    patches = write_jpeg(tmp_path / "a.h5", 9)
    rows = np.array([8, 0, 3, 3])
    with ShardReader(tmp_path / "a.h5") as shard:
        assert np.abs(shard.read(rows).astype(int) - patches[rows]).max() <= 4
        shard.verify()
    with h5py.File(tmp_path / "a.h5") as file:
        offsets = file["jpeg_offsets"][:]
        assert (offsets.dtype, offsets.shape, offsets[0]) == (np.uint64, (10,), 0)
        assert file["jpeg_bytes"].shape == (int(offsets[-1]),)
        assert "patches" not in file
        encoded = file["jpeg_bytes"][int(offsets[5]) : int(offsets[6])].tobytes()
    with Image.open(io.BytesIO(encoded)) as image:
        # 4:4:4: each component has one sample a pixel.
        assert {component[1:3] for component in image.layer} == {(1, 1)}
        assert np.abs(np.asarray(image).astype(int) - patches[5]).max() <= 4


def test_jpegs_beyond_a_buffer_and_none_at_all_are_stored(tmp_path: Path) -> None:
    large = [bytes([number]) * 1_500_000 for number in range(1, 5)]
    for name, encoded in (("large", large), ("empty", [])):
        write_encoded_shard(
            tmp_path / f"{name}.h5",
            columns(len(encoded)),
            iter(encoded),
            storage=Storage.PASSTHROUGH,
            patch_px=16,
            attributes=ATTRIBUTES,
        )
        with ShardReader(tmp_path / f"{name}.h5") as shard:
            assert [shard.encoded(row) for row in range(len(encoded))] == encoded
            shard.verify()


def test_jpeg_bytes_that_are_no_jpeg_are_an_error(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.h5", 3)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["jpeg_bytes"][:20] = 0
    with (
        ShardReader(tmp_path / "a.h5") as shard,
        pytest.raises(StoreError, match="no JPEG of its size"),
    ):
        shard.read(np.array([0]))


def test_coordinates_hold_no_pixels(tmp_path: Path) -> None:
    write_coordinates(tmp_path / "a.h5", columns(5), patch_px=16, attributes=ATTRIBUTES)
    with ShardReader(tmp_path / "a.h5") as shard:
        assert shard.storage is Storage.COORDINATES
        assert shard.column("x").tolist() == [0, 10, 20, 30, 40]
        shard.verify()
        with pytest.raises(StoreError):
            shard.read(np.array([0]))


@pytest.mark.parametrize(
    ("storage", "dataset", "place"),
    [
        ("none", "patches", (6, 15, 15, 2)),
        ("zstd", "patches", (0, 0, 0, 0)),
        ("jpeg", "jpeg_bytes", (700,)),
        ("none", "label", (3,)),
    ],
)
def test_a_flipped_byte_is_found(
    tmp_path: Path, storage: str, dataset: str, place: tuple[int, ...]
) -> None:
    path = tmp_path / "a.h5"
    if storage == "jpeg":
        write_jpeg(path, 7)
    else:
        write(path, 7, Codec(storage))
    with ShardReader(path) as shard:
        shard.verify()
    with h5py.File(path, "r+") as file:
        file[dataset][place] = file[dataset][place] ^ 64
    with ShardReader(path) as shard, pytest.raises(StoreError, match="not those that were written"):
        shard.verify()


def test_checksum_sees_the_last_bytes_and_the_order_of_blocks() -> None:
    def made(*blocks: bytes) -> str:
        checksum = Checksum()
        for block in blocks:
            checksum.add(block)
        return checksum.hexdigest()

    assert made(b"0123456789", b"abc") == made(b"0123456789", b"abc")
    assert made(b"0123456789", b"abc") != made(b"abc", b"0123456789")
    assert made(b"0123456789") != made(b"012345678x")
    patches = pixels(2)
    assert made(patches[0].tobytes()) == made(patches[0])

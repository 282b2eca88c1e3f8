"""The HDF5 file of one slide's patches: every name in it, written and read.

Datasets, all of length ``n`` with the dimension scale ``patch_id`` on axis 0:

=================  ========================  ==============================================
``patches``        (n, H, W, 3) uint8, RGB   chunk (1, H, W, 3); storage ``pixels`` only
``jpeg_bytes``     (total,) uint8            one JPEG after the other; ``jpeg``, ``passthrough``
``jpeg_offsets``   (n + 1,) uint64           where in ``jpeg_bytes`` each JPEG begins and ends
``x``, ``y``       (n,) int64                corner in level-0 pixels of the full canvas
``tissue_share``   (n,) float32              share of the patch's area, 0-1
``tumor_share``    (n,) float32              the same; NaN where the slide has no annotation
``label``          (n,) int16                index into the attribute ``classes``, -1 = none
=================  ========================  ==============================================

The storage ``coordinates`` has the columns alone; ``lamella.patches.pixels`` reads its patches from
the slide.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from lamella.errors import StoreError
from lamella.stores.atomic import replacing
from lamella.stores.checksum import Checksum
from lamella.stores.codec import Codec, Storage
from lamella.stores.jpeg import decode_jpeg
from lamella.stores.stored import MADE_ANEW, Stored

LAYOUT = "lamella patches 2"
"""Value of the root attribute ``layout``."""

PATCHES = "patches"
JPEG_BYTES = "jpeg_bytes"
JPEG_OFFSETS = "jpeg_offsets"
COLUMNS = {
    "x": np.int64,
    "y": np.int64,
    "tissue_share": np.float32,
    "tumor_share": np.float32,
    "label": np.int16,
}
# What comes out of h5py where a file is damaged.
_DAMAGE = (OSError, LookupError, RuntimeError, ValueError, TypeError)
_AXES = ("patch", "row", "column", "channel")
# Small enough that a patch's JPEG is not read with many others, large enough for few chunks.
_JPEG_CHUNK = 1 << 16
_JPEG_BUFFER = 1 << 22
# Reading and checking so many takes seconds at most, and milliseconds where patches are small.
_PATCHES_IN_A_PART = 64


@dataclass(frozen=True)
class PatchColumns:
    """What is known of each patch of a slide, besides its pixels; arrays of shape ``(n,)``."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    tissue_share: NDArray[np.float32]
    tumor_share: NDArray[np.float32]
    label: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.x)


def write_shard(
    path: Path,
    columns: PatchColumns,
    batches: Iterable[NDArray[np.uint8]],
    *,
    patch_px: int,
    codec: Codec,
    attributes: Mapping[str, Any],
) -> None:
    """Write the patches of a slide with their pixels, in one step.

    Args:
        path: The final path; it appears only when everything is written.
        columns: One entry per patch.
        batches: The pixels in the same order, arrays ``(k, patch_px, patch_px, 3)`` uint8, RGB.
        patch_px: Edge length of a patch.
        codec: Packing of the pixels.
        attributes: Root attributes beyond those that say what the file holds.

    Raises:
        StoreError: the batches hold more or fewer patches than the columns.
    """
    with _new_shard(path, columns, Storage.PIXELS, patch_px, attributes) as (file, checksum):
        patches = _create_patches(file, len(columns), patch_px, codec)
        patches.dims[0].attach_scale(file["patch_id"])
        _fill(patches, batches, checksum, path)


def write_encoded_shard(
    path: Path,
    columns: PatchColumns,
    encoded: Iterable[bytes],
    *,
    storage: Storage,
    patch_px: int,
    attributes: Mapping[str, Any],
) -> None:
    """Write the patches of a slide as JPEGs that exist already, in one step.

    Args:
        path: The final path; it appears only when everything is written.
        columns: One entry per patch.
        encoded: One JPEG file a patch, in the same order; it says its colours itself.
        storage: ``jpeg`` or ``passthrough``.
        patch_px: Edge length of a patch.
        attributes: Root attributes beyond those that say what the file holds.

    Raises:
        StoreError: there are more or fewer JPEGs than patches.
    """
    with _new_shard(path, columns, storage, patch_px, attributes) as (file, checksum):
        packed = file.create_dataset(
            JPEG_BYTES, (0,), maxshape=(None,), chunks=(_JPEG_CHUNK,), dtype=np.uint8
        )
        sizes = list(_appended(packed, encoded, checksum))
        _check_count(len(sizes), len(columns), path)
        offsets = np.cumsum([0, *sizes], dtype=np.uint64)
        file.create_dataset(JPEG_OFFSETS, data=offsets)


def write_coordinates(
    path: Path, columns: PatchColumns, *, patch_px: int, attributes: Mapping[str, Any]
) -> None:
    """Write where the patches of a slide lie, without their pixels, in one step.

    Args:
        path: The final path; it appears only when everything is written.
        columns: One entry per patch.
        patch_px: Edge length of a patch.
        attributes: Root attributes; they tell the slide and how it is read.
    """
    with _new_shard(path, columns, Storage.COORDINATES, patch_px, attributes):
        pass


@contextmanager
def _new_shard(
    path: Path,
    columns: PatchColumns,
    storage: Storage,
    patch_px: int,
    attributes: Mapping[str, Any],
) -> Iterator[tuple[h5py.File, Checksum]]:
    """Yield a file with its columns and the checksum that the patches are to be added to."""
    checksum = Checksum()
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        scale = file.create_dataset("patch_id", data=np.arange(len(columns), dtype=np.int64))
        scale.make_scale("patch_id")
        for name, kind in COLUMNS.items():
            values = np.asarray(getattr(columns, name), dtype=kind)
            file.create_dataset(name, data=values).dims[0].attach_scale(scale)
            checksum.add(values)
        yield file, checksum
        file.attrs.update(
            {
                **attributes,
                "layout": LAYOUT,
                "storage": storage.value,
                "patch_px": patch_px,
                "n": len(columns),
                "checksum": checksum.hexdigest(),
                "complete": True,
            }
        )


def _create_patches(file: h5py.File, n: int, patch_px: int, codec: Codec) -> h5py.Dataset:
    packing: Mapping[str, Any] = hdf5plugin.Zstd(clevel=3) if codec is Codec.ZSTD else {}
    patch = (patch_px, patch_px, 3)
    # Without a limit on n, since a slide without patches has no room for a chunk otherwise.
    patches = file.create_dataset(
        PATCHES, (n, *patch), maxshape=(None, *patch), chunks=(1, *patch), dtype=np.uint8, **packing
    )
    for axis, label in enumerate(_AXES):
        patches.dims[axis].label = label
    return patches


def _fill(
    patches: h5py.Dataset, batches: Iterable[NDArray[np.uint8]], checksum: Checksum, path: Path
) -> None:
    # Looked up once: each look goes through HDF5.
    n, shape, start = len(patches), patches.shape[1:], 0
    packed = patches.id.get_create_plist().get_nfilters() > 0
    for batch in batches:
        end = start + len(batch)
        if end <= n and packed:
            patches[start:end] = batch
        elif end <= n:
            _write_chunks(patches.id, start, batch, shape)
        start = end
        for patch in batch:
            checksum.add(patch)
    _check_count(start, n, path)


def _write_chunks(
    patches: h5py.h5d.DatasetID, start: int, batch: NDArray[np.uint8], shape: tuple[int, ...]
) -> None:
    """Write patches from a row on, past HDF5's cache of chunks, which copies them once more."""
    # Whatever is written as a chunk, HDF5 takes.
    if batch.dtype != np.uint8 or batch.shape[1:] != shape:
        raise ValueError(f"patches are {batch.shape[1:]} {batch.dtype}, not {shape} uint8")
    for row, patch in enumerate(np.ascontiguousarray(batch), start):
        patches.write_direct_chunk((row, 0, 0, 0), patch)


def _appended(packed: h5py.Dataset, encoded: Iterable[bytes], checksum: Checksum) -> Iterator[int]:
    """Append JPEGs to a dataset, many at a time; yield the size of each."""
    buffer = bytearray()
    for each in encoded:
        checksum.add(each)
        buffer += each
        yield len(each)
        if len(buffer) >= _JPEG_BUFFER:
            _append(packed, buffer)
            buffer = bytearray()
    _append(packed, buffer)


def _append(packed: h5py.Dataset, octets: bytearray) -> None:
    start = len(packed)
    packed.resize(start + len(octets), axis=0)
    packed[start:] = np.frombuffer(octets, dtype=np.uint8)


def _check_count(found: int, expected: int, path: Path) -> None:
    if found != expected:
        raise StoreError(
            f"{found} patches were read, {expected} expected",
            str(path),
            "Please report this as a bug",
        )


def read_stored(path: Path) -> Stored | None:
    """Return fingerprint and number of patches, or ``None`` where the file is absent or damaged."""
    try:
        with h5py.File(path, "r") as file:
            return Stored(str(file.attrs["fingerprint"]), int(file.attrs["n"]))
    except _DAMAGE:
        return None


_NEEDED = {"n", "fingerprint", "storage", "patch_px", "checksum"}


class ShardReader:
    """The patches of one slide, open for reading.

    Raises:
        StoreError: the file is missing, damaged or of another layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming_damage(path), ExitStack() as opened:
            self._file = opened.enter_context(h5py.File(path, "r"))
            self.attributes: dict[str, Any] = dict(self._file.attrs)
            if self.attributes.get("layout") != LAYOUT or _NEEDED - self.attributes.keys():
                raise ValueError(f"its layout is not {LAYOUT!r}")
            self.storage = Storage(self.attributes["storage"])
            self._n, self._patch_px = (int(self.attributes[name]) for name in ("n", "patch_px"))
            # From here on `close` closes it.
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._n

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def column(self, name: str) -> NDArray[Any]:
        """Return one of ``COLUMNS``, shape ``(n,)``."""
        with naming_damage(self.path):
            values: NDArray[Any] = self._file[name][:]
        return values

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return patches by row number.

        Args:
            rows: ``(k,)`` row numbers, in any order, repeats allowed.

        Returns:
            ``(k, H, W, 3)`` uint8, RGB, in the order of ``rows``.

        Raises:
            StoreError: the file is damaged, or holds no pixels (storage ``coordinates``).
        """
        pixels = np.empty((len(rows), self._patch_px, self._patch_px, 3), dtype=np.uint8)
        read = self._read_pixels if self.storage is Storage.PIXELS else self._read_jpeg
        with naming_damage(self.path):
            # Ascending rows lie one after the other on the disk.
            for place in np.argsort(rows, kind="stable"):
                read(int(rows[place]), pixels[place])
        return pixels

    def verify(self, alive: Callable[[], None] = lambda: None) -> None:
        """Read everything that the file itself holds and compare it with the checksum.

        Args:
            alive: Called after each part that was read.

        Raises:
            StoreError: a byte is not what was written.
        """
        checksum = Checksum()
        for name in COLUMNS:
            checksum.add(self.column(name))
            alive()
        if self.storage is not Storage.COORDINATES:
            with naming_damage(self.path):
                for row in range(len(self)):
                    checksum.add(self._stored(row))
                    if row % _PATCHES_IN_A_PART == 0:
                        alive()
        if checksum.hexdigest() != self.attributes["checksum"]:
            raise _damaged(self.path, "its bytes are not those that were written")

    def _read_pixels(self, row: int, out: NDArray[np.uint8]) -> None:
        # Half the time of read_direct, which looks at its selection in Python.
        out[:] = self._patches[row]

    def _read_jpeg(self, row: int, out: NDArray[np.uint8]) -> None:
        decode_jpeg(self.encoded(row), out)

    def encoded(self, row: int) -> bytes:
        """Return the JPEG of a patch, as it is stored."""
        start, end = self._offsets[row : row + 2].tolist()
        octets: NDArray[np.uint8] = self._jpegs[start:end]
        return octets.tobytes()

    # Looking a dataset up costs as much as reading a JPEG.
    @cached_property
    def _patches(self) -> h5py.Dataset:
        return self._file[PATCHES]

    @cached_property
    def _jpegs(self) -> h5py.Dataset:
        return self._file[JPEG_BYTES]

    @cached_property
    def _offsets(self) -> NDArray[np.uint64]:
        offsets: NDArray[np.uint64] = self._file[JPEG_OFFSETS][:]
        return offsets

    def _stored(self, row: int) -> NDArray[np.uint8] | bytes:
        if self.storage is Storage.PIXELS:
            pixels: NDArray[np.uint8] = self._patches[row]
            return pixels
        return self.encoded(row)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn what comes out of a damaged shard into the error that says so.

    Raises:
        StoreError: something did.
    """
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"the shard cannot be used ({what})",
        str(path),
        MADE_ANEW,
    )

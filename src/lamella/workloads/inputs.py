"""``results/workloads/{case}/input.json``: what a workload works on."""

import itertools
import logging
import zlib
from pathlib import Path

import av
import nibabel
import numpy as np
from numpy.typing import NDArray

from lamella.benchmark.settings import BenchmarkCase
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.errors import StoreError
from lamella.slides.identity import slide_identity
from lamella.stores.atomic import replacing
from lamella.workloads.drawn import draw_clip, draw_volume
from lamella.workloads.settings import WorkloadSettings
from lamella.workloads.sizes import SIZES, Sizes
from lamella.workloads.stored import Stored

_log = logging.getLogger(__name__)

INPUT_NAME = "input.json"
"""Name of what says what a workload works on."""

_NIFTI_FAULTS = (
    *(OSError, ValueError, EOFError, zlib.error, nibabel.wrapstruct.WrapStructError),
    *(nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError),
)
_DICOM, _DICOM_AT = b"DICM", 128
_ARRAY = "input.npy"
_SLIDE = "slide.svs"
_DRAWN_MPP = 0.25


class WorkloadInput(Stored):
    """What a workload works on, and where it is from."""

    file: str
    """Beside this file, or an absolute path."""
    source: str
    """The file that was given, or `drawn`."""
    identity: str
    """Digest of size and sampled blocks of the file."""


def prepare_workload(*, case: BenchmarkCase, output: Path, settings: WorkloadSettings) -> None:
    """Lay out what a workload works on, drawn where nothing is given.

    Args:
        case: The workload.
        output: ``input.json``; an array or a drawn slide goes beside it.
        settings: Size, and what is given.

    Raises:
        StoreError: the given file cannot be read.
    """
    sizes = SIZES[settings.size]
    match case:
        case BenchmarkCase.ULTRASOUND:
            given, path = settings.frames, output.with_name(_ARRAY)
            _store(path, _clip(settings, sizes))
        case BenchmarkCase.CT:
            given, path = settings.volume, output.with_name(_ARRAY)
            _store(path, _volume(settings, sizes))
        case BenchmarkCase.WSI:
            given = settings.slide
            path = given.resolve() if given else _drawn_slide(output, sizes, settings.seed)
        case BenchmarkCase.PATCHES:
            raise ValueError("its patches are those of the study")
    about = WorkloadInput(
        file=path.name if path.parent == output.parent else str(path),
        source=str(given or "drawn"),
        identity=slide_identity(path),
    )
    about.write(output)
    _log.info("%s: %s", case, about.source)


def open_input(about: Path) -> Path:
    """Return the file that a workload works on.

    Raises:
        StoreError: it is missing or another one.
    """
    stored = WorkloadInput.read(about)
    path = about.parent / stored.file
    if not path.exists() or slide_identity(path) != stored.identity:
        raise StoreError(
            "the file is missing or another one than was prepared",
            str(path),
            f"Delete {about} and run `snakemake benchmark` again",
        )
    return path


def read_clip(path: Path, frames: int) -> NDArray[np.uint8]:
    """Return the first frames of a clip in grey, ``(n, height, width)``.

    Args:
        path: The clip.
        frames: Most frames that are read.

    Raises:
        StoreError: FFmpeg reads no frame of it, or it is a DICOM file.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(_DICOM_AT)
            if stream.read(len(_DICOM)) == _DICOM:
                # It would take the images in it for a stream, and lose some where they begin.
                raise StoreError(
                    "it is a DICOM file, of which FFmpeg loses frames",
                    str(path),
                    "Make a clip of it, and name that in `workloads.frames`",
                )
        with av.open(str(path)) as clip:
            decoded = itertools.islice(clip.decode(video=0), frames)
            found = [frame.to_ndarray(format="gray") for frame in decoded]
    except (OSError, IndexError, av.FFmpegError) as error:
        raise _unreadable(path, str(error)) from error
    if not found:
        raise _unreadable(path, "it has no frame")
    return np.stack(found)


def read_volume(path: Path) -> NDArray[np.int16]:
    """Return a volume in Hounsfield units, ``(slices, rows, columns)``.

    Raises:
        StoreError: it is no NIfTI file of three dimensions, has no voxel, or voxels that are no
            real, finite numbers.
    """
    try:
        stored = nibabel.Nifti1Image.from_filename(path)
        values = np.asanyarray(stored.dataobj)
    except _NIFTI_FAULTS as error:
        raise _unreadable(path, str(error)) from error
    if values.ndim != 3:
        raise _unreadable(path, f"it has {values.ndim} dimensions, not 3")
    if values.size == 0:
        raise _unreadable(path, f"it has no voxel: its shape is {values.shape}")
    # Colours are records of numbers.
    if values.dtype.kind not in "iuf":
        raise _unreadable(path, f"voxels of it are no real numbers but {values.dtype}")
    if not np.isfinite(values).all():
        raise _unreadable(path, "voxels of it are NaN or infinite")
    # NIfTI's first axis is x.
    limits = np.iinfo(np.int16)
    whole: NDArray[np.int16] = np.clip(np.rint(values), limits.min, limits.max).astype(np.int16)
    return whole.transpose(2, 1, 0)


def _unreadable(path: Path, why: str) -> StoreError:
    return StoreError(
        f"the file cannot be read ({why})", str(path), "Correct the path in section `workloads`"
    )


def _clip(settings: WorkloadSettings, sizes: Sizes) -> NDArray[np.uint8]:
    if settings.frames is None:
        return draw_clip(sizes.frames, settings.seed)
    frames = read_clip(settings.frames, sizes.frames)
    return frames[np.arange(sizes.frames) % len(frames)]


def _volume(settings: WorkloadSettings, sizes: Sizes) -> NDArray[np.int16]:
    if settings.volume is None:
        return np.stack(list(draw_volume(sizes.volume_zyx, settings.seed)))
    found = read_volume(settings.volume)
    places = (
        np.arange(wanted) % length
        for wanted, length in zip(sizes.volume_zyx, found.shape, strict=True)
    )
    return found[np.ix_(*places)]


def _store(path: Path, values: NDArray[np.generic]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, values)


def _drawn_slide(output: Path, sizes: Sizes, seed: int) -> Path:
    path = output.with_name(_SLIDE)
    width, height = sizes.slide_px
    draw_slide(path, SlideSpec(width * _DRAWN_MPP, height * _DRAWN_MPP, seed=seed))
    return path

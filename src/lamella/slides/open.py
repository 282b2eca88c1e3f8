"""Open a slide file with the reader that is for it."""

import logging
from pathlib import Path

import imagecodecs

from lamella import slides
from lamella.slides.image_source import ImageSource, is_image
from lamella.slides.openslide_source import OPENSLIDE_VERSION, OpenSlideSource, detect_vendor
from lamella.slides.settings import ReaderName, ReadingSettings
from lamella.slides.source import CACHE_BYTES, SlideSource, unreadable
from lamella.slides.tiff_layout import TiffLayout, is_tiff, read_layout
from lamella.slides.tile_source import TileSource

logger = logging.getLogger(__name__)

_CONVERT = "Check that the file is complete, convert it, or remove its row"


def open_source(
    path: Path, reader: ReaderName = ReaderName.AUTO, *, cache_bytes: int = CACHE_BYTES
) -> SlideSource:
    """Open a slide file.

    What ``auto`` takes follows from the file alone: ``tiles`` for a pyramid of tiles whose
    layout is understood completely, else ``openslide`` for what OpenSlide knows, else ``image``.
    A file that the chosen reader then cannot read is an error; no other reader is tried.

    Args:
        path: The file.
        reader: The reader that is to be used.
        cache_bytes: Most bytes of decoded tiles that are kept; plain images are kept whole.

    Raises:
        SlideUnreadableError: the file is missing or damaged, it is no brightfield image, or the
            reader is not for it.
    """
    try:
        vendor = detect_vendor(path)
        layout = read_layout(path, vendor) if is_tiff(path) else "it is no TIFF"
    except OSError as error:
        raise unreadable(
            f"the file cannot be read ({error.strerror})", path, "Check path and permissions"
        ) from error
    if reader is ReaderName.AUTO:
        reader = _choose(path, layout, vendor)
    if reader is ReaderName.OPENSLIDE:
        return OpenSlideSource(path, cache_bytes=cache_bytes)
    if reader is ReaderName.IMAGE:
        return ImageSource(path)
    if isinstance(layout, TiffLayout):
        return TileSource(path, layout, cache_bytes=cache_bytes)
    raise unreadable(
        f"its tiles cannot be read directly: {layout}", path, "Set `reading.reader: auto`"
    )


def reading_inputs(settings: ReadingSettings) -> dict[str, object]:
    """Return what pixels depend on besides the file, for the fingerprints of what shows them.

    Which reader ``auto`` takes follows from the file and from ``REVISION``.
    """
    return {
        "settings": settings.as_params(),
        "revision": slides.REVISION,
        "openslide": OPENSLIDE_VERSION,
        "imagecodecs": imagecodecs.__version__,
    }


def _choose(path: Path, layout: TiffLayout | str, vendor: str | None) -> ReaderName:
    if isinstance(layout, TiffLayout):
        return ReaderName.TILES
    if vendor is not None:
        logger.info("%s is read by OpenSlide: %s", path, layout)
        return ReaderName.OPENSLIDE
    if is_image(path):
        return ReaderName.IMAGE
    raise unreadable(f"no reader knows this format ({layout})", path, _CONVERT)

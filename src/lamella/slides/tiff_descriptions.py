"""What the descriptions inside TIFF files say: resolution, channels, sizes of levels."""

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree

from lamella.slides.source import MppXy

_OME_UM = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}
_UM_PER_MM = 1000.0
_SPACING, _IMAGE_TYPE = "DICOM_PIXEL_SPACING", "PIM_DP_IMAGE_TYPE"
_LEVELS = "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"

Rational = tuple[int, int]


def is_ome(description: str) -> bool:
    """Tell whether a description is OME-XML."""
    return "<OME" in description[:4096] and description.rstrip("\0\r\n\t ").endswith("OME>")


def ome_channels(description: str) -> int | None:
    """Return the number of channels of the first image; ``None`` where it is not said.

    Raises:
        ValueError: it is no OME-XML.
    """
    channels = _ome_pixels(description).get("SizeC")
    return None if channels is None else int(channels)


def ome_mpp(description: str) -> MppXy:
    """Return the physical size of a pixel of the first image.

    Raises:
        ValueError: it is no OME-XML.

    Source:
        OME schema 2016-06; the unit is µm where none is named.
    """
    pixels = _ome_pixels(description)
    return _ome_um(pixels, "PhysicalSizeX"), _ome_um(pixels, "PhysicalSizeY")


def aperio_mpp(description: str) -> MppXy:
    """Return the resolution in an Aperio description, ``…|MPP = 0.25|…``."""
    pairs = (entry.partition("=") for entry in description.split("|")[1:])
    values = {name.strip(): value.strip().replace(",", ".") for name, _, value in pairs}
    try:
        mpp = float(values["MPP"])
    except (KeyError, ValueError):
        return None, None
    return mpp, mpp


def tag_mpp(x: Rational | None, y: Rational | None, unit: int) -> MppXy:
    """Return the resolution that TIFF's tags say.

    Args:
        x: Pixels per unit in x, as numerator and denominator.
        y: The same in y.
        unit: TIFF's number of the unit: 2 is inch, 3 is centimetre, 1 is none.
    """
    um = _UM_PER_UNIT.get(unit)
    if um is None or x is None or y is None or 0 in (*x, *y):
        return None, None
    return um / (x[0] / x[1]), um / (y[0] / y[1])


@dataclass(frozen=True)
class PhilipsScan:
    """What a Philips TIFF says of its scan.

    Attributes:
        mpp: Microns per pixel of level 0.
        downsamples: Level-0 pixels per pixel of each level, whole numbers.
    """

    mpp: MppXy
    downsamples: tuple[float, ...]


def philips_scan(description: str) -> PhilipsScan:
    """Return what the XML of a Philips TIFF says; sizes in the TIFF are padded to whole tiles.

    Raises:
        ValueError: it is not the description of one scan.
    """
    scans = [found for found in _xml(description).iter("DataObject") if _is_scan(found)]
    if len(scans) != 1:
        raise ValueError(f"its description names {len(scans)} scans")
    levels = [
        _spacing(found)
        for sequence in scans[0].findall("Attribute")
        if sequence.get("Name") == _LEVELS
        for found in sequence.iter("Attribute")
        if found.get("Name") == _SPACING
    ]
    own = [_spacing(found) for found in scans[0].findall("Attribute") if _named(found, _SPACING)]
    if not levels:
        raise ValueError("its description names no levels")
    x, y = levels[0]
    factors = tuple(float(round((wide / x + high / y) / 2)) for wide, high in levels)
    mpp: MppXy = (own[0][0] * _UM_PER_MM, own[0][1] * _UM_PER_MM) if own else (None, None)
    return PhilipsScan(mpp, factors)


def _is_scan(found: Element) -> bool:
    return any(
        _named(entry, _IMAGE_TYPE) and entry.text == "WSI" for entry in found.findall("Attribute")
    )


def _named(found: Element, name: str) -> bool:
    return found.get("Name") == name


def _spacing(found: Element) -> tuple[float, float]:
    """Return the spacing in x and y in millimetres; the file names that of the rows first."""
    down, across = (found.text or "").replace('"', " ").split()
    return float(across), float(down)


def _ome_pixels(description: str) -> Element:
    for found in _xml(description).iter():
        if found.tag.rpartition("}")[2] == "Pixels":
            return found
    raise ValueError("its OME-XML names no pixels")


def _ome_um(pixels: Element, name: str) -> float | None:
    size, um = pixels.get(name), _OME_UM.get(pixels.get(f"{name}Unit", "µm"))
    return None if size is None or um is None else float(size) * um


def _xml(description: str) -> Element:
    try:
        root: Element = defusedxml.ElementTree.fromstring(description.strip("\0\r\n\t ").encode())
    except ParseError as error:
        raise ValueError(f"its description is no XML ({error})") from error
    return root

"""The two scanners: resolution, file name, stain and the place of the field on the canvas."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.drawing.settings import Scanner

NOISE_LEVELS = 11
"""Sensor noise is uniform in ``0 … NOISE_LEVELS - 1`` grey levels around the colour."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ScannerModel:
    """What tells the slides of one scanner from those of another.

    Attributes:
        mpp: Microns per pixel of level 0; a power of two, so that lattices fall on pixels.
        suffix: File name suffix.
        objective: Nominal magnification, written into the file.
        offset_px: ``(x, y)`` of the field on the canvas, level-0 pixels; multiples of 256, so
            that it is whole in four levels below.
        margin_px: ``(x, y)`` canvas right of and below the field.
        glass: RGB of the empty slide, grey levels.
        haematoxylin: RGB absorbance of the stain, a unit vector.
        eosin: RGB absorbance of the stain, a unit vector.
        strengths: Absorbance (natural logarithm) of full haematoxylin and full eosin.
    """

    mpp: float
    suffix: str
    objective: int
    offset_px: tuple[int, int]
    margin_px: tuple[int, int]
    glass: Triple
    haematoxylin: Triple
    eosin: Triple
    strengths: tuple[float, float]

    def canvas_px(self, field_px: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of the canvas around a field, level-0 pixels."""
        width, height = (
            offset + size + margin
            for offset, size, margin in zip(self.offset_px, field_px, self.margin_px, strict=True)
        )
        return width, height


SCANNERS = {
    Scanner.APERIO: ScannerModel(
        mpp=0.25,
        suffix=".svs",
        objective=40,
        offset_px=(0, 0),
        margin_px=(0, 0),
        glass=(241.0, 240.0, 242.0),
        haematoxylin=(0.65, 0.70, 0.29),
        eosin=(0.16, 0.89, 0.43),
        strengths=(2.1, 1.15),
    ),
    Scanner.LEICA: ScannerModel(
        mpp=0.5,
        suffix=".scn",
        objective=20,
        offset_px=(1024, 512),
        margin_px=(256, 768),
        glass=(236.0, 238.0, 230.0),
        haematoxylin=(0.56, 0.72, 0.41),
        eosin=(0.22, 0.80, 0.56),
        strengths=(2.5, 1.0),
    ),
}
"""Settings of each scanner.

Source:
    Haematoxylin of the Aperio-like one: Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 2001
    (PMID 11531144); both stains of the Leica-like one: the reference of Macenko et al., ISBI
    2009, doi:10.1109/ISBI.2009.5193250. The rest is chosen by eye.
"""


def colour_table(model: ScannerModel) -> NDArray[np.uint32]:
    """Return the colour of every amount of stain, by the Beer-Lambert law.

    Returns:
        ``(65536,)`` packed colours ``red | green << 8 | blue << 16`` at index
        ``haematoxylin << 8 | eosin``, both 0 … 255. Every channel leaves room for the noise
        that is added later: packed noise can be added without a carry.
    """
    amounts = np.arange(256) / 255.0
    packed = np.zeros((256, 256), np.uint32)
    for channel in range(3):
        haematoxylin = np.exp(-amounts * model.strengths[0] * model.haematoxylin[channel])
        eosin = np.exp(-amounts * model.strengths[1] * model.eosin[channel])
        grey = model.glass[channel] * np.outer(haematoxylin, eosin) - NOISE_LEVELS // 2
        packed |= np.rint(np.clip(grey, 0, 255 - NOISE_LEVELS)).astype(np.uint32) << (8 * channel)
    return packed.ravel()

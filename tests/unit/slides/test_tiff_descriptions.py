"""Resolutions are taken from where each format says them, in their units."""

import pytest

from lamella.slides.tiff_descriptions import (
    aperio_mpp,
    is_ome,
    ome_channels,
    ome_mpp,
    philips_scan,
    tag_mpp,
)


def ome(pixels: str) -> str:
    namespace = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><!-- Warning -->'
        f'<OME xmlns="{namespace}"><Image ID="Image:0"><Pixels {pixels}/></Image>'
        f'<Image ID="Image:1"><Pixels SizeC="9" PhysicalSizeX="7"/></Image></OME>\n'
    )


@pytest.mark.parametrize(
    ("pixels", "mpp"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.26"', (0.25, 0.26)),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.5"', (0.25, 0.5)),
        ('PhysicalSizeX="0.00025" PhysicalSizeXUnit="mm"', (0.25, None)),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"', (None, 1.0)),
        ('SizeC="3"', (None, None)),
    ],
)
def test_ome_xml_says_size_and_unit_of_the_first_image(pixels: str, mpp) -> None:
    description = ome(pixels)
    assert is_ome(description)
    for found, expected in zip(ome_mpp(description), mpp, strict=True):
        assert found == (None if expected is None else pytest.approx(expected))


def test_ome_channels_are_those_of_the_first_image() -> None:
    assert ome_channels(ome('SizeC="3"')) == 3
    assert ome_channels(ome('SizeX="3"')) is None
    assert not is_ome("Aperio <OMELETTE>")
    with pytest.raises(ValueError, match="no XML"):
        ome_channels("<OME><broken OME>")


@pytest.mark.parametrize(
    ("description", "mpp"),
    [
        ("Aperio\r\n20x10|AppMag = 40|MPP = 0.2527|Left = 1", 0.2527),
        ("Aperio|MPP=0,5", 0.5),
        ("Aperio|AppMag = 40", None),
        ("Aperio|MPP = unknown", None),
    ],
)
def test_aperio_says_microns_and_never_by_its_magnification(description: str, mpp) -> None:
    assert aperio_mpp(description) == (mpp, mpp)


def test_tags_say_pixels_per_inch_or_centimetre() -> None:
    assert tag_mpp((20_000, 1), (10_000, 1), 3) == (0.5, 1.0)
    assert tag_mpp((50_800, 1), (101_600, 2), 2) == (0.5, 0.5)
    assert tag_mpp((20_000, 1), (20_000, 1), 1) == (None, None)
    assert tag_mpp((20_000, 0), (20_000, 1), 3) == (None, None)
    assert tag_mpp(None, (20_000, 1), 3) == (None, None)


def test_philips_names_the_spacing_of_the_rows_first() -> None:
    def scan(kind: str) -> str:
        spacing = '<Attribute Name="DICOM_PIXEL_SPACING">"{}" "{}"</Attribute>'
        levels = "".join(
            f"<DataObject>{spacing.format(0.0003 * factor, 0.0002 * factor)}</DataObject>"
            for factor in (1, 2.01, 3.98)
        )
        return (
            f'<DataObject><Attribute Name="PIM_DP_IMAGE_TYPE">{kind}</Attribute>'
            f"{spacing.format(0.0003, 0.0002)}"
            '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE">'
            f"<Array>{levels}</Array></Attribute></DataObject>"
        )

    found = philips_scan(f"<DataObject>{scan('MACROIMAGE')}{scan('WSI')}</DataObject>")
    assert found.mpp == pytest.approx((0.2, 0.3))
    assert found.downsamples == (1.0, 2.0, 4.0)
    with pytest.raises(ValueError, match="names 2 scans"):
        philips_scan(f"<DataObject>{scan('WSI')}{scan('WSI')}</DataObject>")

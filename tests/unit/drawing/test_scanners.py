import numpy as np
import pytest

from lamella.drawing.scanners import SCANNERS, colour_table
from lamella.drawing.settings import Scanner


def colour(scanner, haematoxylin, eosin):
    packed = int(colour_table(SCANNERS[scanner])[haematoxylin << 8 | eosin])
    return [packed & 255, packed >> 8 & 255, packed >> 16]


def test_no_stain_is_glass_less_half_the_noise():
    assert colour(Scanner.APERIO, 0, 0) == [236, 235, 237]
    assert colour(Scanner.LEICA, 0, 0) == [231, 233, 225]


@pytest.mark.parametrize("scanner", list(Scanner))
def test_eosin_is_pink_and_haematoxylin_is_blue(scanner):
    red, green, blue = colour(scanner, 0, 120)
    assert red > blue > green
    red, green, blue = colour(scanner, 160, 0)
    assert blue > red > green


def test_stain_follows_the_law_of_beer_and_lambert():
    red = colour(Scanner.APERIO, 255, 0)[0]
    assert red == round(241 * np.exp(-2.1 * 0.65) - 5)


@pytest.mark.parametrize("scanner", list(Scanner))
def test_noise_never_carries_into_the_next_channel(scanner):
    table = colour_table(SCANNERS[scanner])
    channels = table[:, None] >> np.array([0, 8, 16]) & 255
    assert channels.max() + 10 <= 255

from enum import StrEnum

import pytest
from pydantic import Field

from lamella.documentation import settings_tables, with_tables
from lamella.settings import Settings


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Wheel(Settings):
    """A wheel."""

    radius_mm: float = Field(default=300.0, gt=0.0, le=1000.0)
    """Radius in
    millimetres."""


class Cart(Settings):
    """A cart.

    More about it.
    """

    colour: Colour = Colour.BLUE
    """Paint; `a|b`."""

    load_kg: int | None = Field(default=None, ge=1)
    """Load in kilograms."""

    names: tuple[str, ...] = ("big", "small")
    """Names."""

    front: Wheel = Wheel()
    """The front wheel."""

    spare: dict[str, Wheel] = Field(default_factory=lambda: {"old": Wheel()})
    """Spare wheels by name."""


class Yard(Settings):
    """A yard."""

    owner: str = "nobody"
    """Who owns it."""

    cart: Cart = Cart()
    """The cart."""


def test_tables_hold_every_setting_with_type_limits_default_and_meaning():
    assert settings_tables(Yard) == (
        "| setting | value | default | meaning |\n"
        "|---|---|---|---|\n"
        '| `owner` | text | `"nobody"` | Who owns it. |\n'
        "\n"
        "### `cart`\n"
        "\n"
        "A cart.\n"
        "\n"
        "| setting | value | default | meaning |\n"
        "|---|---|---|---|\n"
        "| `cart.colour` | `red` or `blue` | `blue` | Paint; `a\\|b`. |\n"
        "| `cart.load_kg` | integer ≥ 1 | absent | Load in kilograms. |\n"
        "| `cart.names` | list of text | `[big, small]` | Names. |\n"
        "| `cart.front.radius_mm` | number > 0, ≤ 1000 | `300.0` | Radius in millimetres. |\n"
        "| `cart.spare` | named sections | `old` | Spare wheels by name. |\n"
        "| `cart.spare.NAME.radius_mm` | number > 0, ≤ 1000 | `300.0` | Radius in millimetres. |\n"
    )


def test_only_the_text_between_the_markers_is_replaced():
    begin, end = "<!-- settings: made by `make docs` -->", "<!-- end of settings -->"
    manual = f"before\n{begin}\n\nold\n{end}\nafter\n"
    assert with_tables(manual, "new\n") == f"before\n{begin}\n\nnew\n\n{end}\nafter\n"


def test_manual_without_markers_is_refused():
    with pytest.raises(ValueError, match="must hold one"):
        with_tables("no markers", "new\n")

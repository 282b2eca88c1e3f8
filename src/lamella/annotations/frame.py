"""The rectangle of a slide that a drawn file covers."""

from dataclasses import dataclass

from lamella.annotations.settings import Origin

Bounds = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """A rectangle in level-0 pixels of the full canvas."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, size_l0: tuple[int, int], bounds: Bounds | None, origin: Origin) -> "Frame":
        """Return the rectangle that a file with this origin covers.

        Args:
            size_l0: Width and height of the canvas.
            bounds: The scanned area ``(x, y, width, height)``, where the slide says it.
            origin: Where the file's coordinates start; a slide without bounds has only one.
        """
        if origin is Origin.BOUNDS and bounds is not None:
            return cls(*bounds)
        return cls(0, 0, *size_l0)

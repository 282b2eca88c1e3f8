"""How good a slide is: shares of what spoils it, one row of a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from lamella.tissue.overview import Area
from lamella.tissue.settings import Artefact, TissueMethod

COLUMNS = (
    "slide",
    "method",
    "tissue_share",
    "pen_share",
    "gap_share",
    "fold_share",
    "blur_share",
)
"""Columns of the table of qualities; a slide that failed has empty cells."""


@dataclass(frozen=True)
class Quality:
    """What was measured on a slide.

    Attributes:
        method: How its tissue was found.
        tissue_share: Share of the slide that is in the mask.
        pen_share: Share of the slide under ink.
        gap_share: Share of the slide that the scanner left out.
        fold_share: Share of the tissue found that is folded.
        blur_share: Share of the tissue judged that is out of focus; ``None`` where the slide is
            too coarse or its tissue too small to tell.
    """

    method: TissueMethod
    tissue_share: float
    pen_share: float
    gap_share: float
    fold_share: float
    blur_share: float | None

    def row(self) -> dict[str, str]:
        """Return the cells of its row, without the slide's name."""
        shares = {name: getattr(self, name) for name in COLUMNS if name.endswith("_share")}
        cells = {name: "" if share is None else f"{share:.6f}" for name, share in shares.items()}
        return {"method": self.method.value, **cells}


def quality_of(
    method: TissueMethod,
    *,
    found: Area,
    kept: Area,
    artefacts: Mapping[Artefact, Area],
    blur_share: float | None,
) -> Quality:
    """Return the shares of a slide.

    Args:
        method: How the tissue was found.
        found: ``[y, x]`` tissue before anything is excluded from it.
        kept: ``[y, x]`` tissue of the mask.
        artefacts: ``[y, x]`` of pen marks, gaps and folds.
        blur_share: Share of the tissue out of focus, if it was measured.
    """
    return Quality(
        method,
        tissue_share=float(kept.mean()),
        pen_share=float(artefacts[Artefact.PEN].mean()),
        gap_share=float(artefacts[Artefact.GAPS].mean()),
        fold_share=share_within(artefacts[Artefact.FOLDS], found),
        blur_share=blur_share,
    )


def share_within(part: Area, whole: Area) -> float:
    """Return the share of an area that is also in another; 0 of nothing."""
    return float((part & whole).sum() / max(int(whole.sum()), 1))

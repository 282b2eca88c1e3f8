"""The table of slides: one row a slide, read with file and line in every complaint."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lamella.cohort.settings import Split
from lamella.errors import CohortError, CohortErrors
from lamella.stores.tables import write_table

COLUMNS = (
    "slide",
    "path",
    "patient",
    "label",
    "annotation",
    "centre",
    "split",
    "mpp",
    "mask",
)
"""Columns with a meaning; any other column is kept and can be used for stratifying."""

_REQUIRED = ("slide", "path")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Slide:
    """One row of the slide table.

    Attributes:
        slide: Unique name.
        path: Slide file, absolute.
        patient: Splits never separate one patient's slides.
        label: Slide-level class or number; empty when unknown.
        annotation: ASAP XML, QuPath GeoJSON or mask image, absolute; ``None`` when there is none.
        centre: Where the slide comes from; empty when unknown.
        split: A fixed split; ``None`` when ``split_cohort`` shall choose.
        mpp: Overrides the file's microns per pixel; ``None`` keeps the file's.
        mask: Tissue that the user drew, an image or outlines, absolute; ``None`` where Lamella
            finds it.
        extra: The user's own columns.
        line: Line in the table, 1 is the header.
    """

    slide: str
    path: Path
    patient: str
    label: str = ""
    annotation: Path | None = None
    centre: str = ""
    split: Split | None = None
    mpp: float | None = None
    mask: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    line: int = 0

    def value(self, column: str) -> str:
        """Return the cell of any column as text; empty where there is none."""
        cell = self.extra.get(column) if column in self.extra else getattr(self, column, "")
        return "" if cell is None else str(cell)


def read_slides(path: Path) -> list[Slide]:
    """Return the rows of a slide table.

    Args:
        path: Tab-separated table; blank lines, and lines above the header that start with ``#``,
            are passed over.

    Returns:
        Slides in table order, at least one.

    Raises:
        CohortErrors: the table is missing, malformed or has duplicate slides. All errors are
            named at once, each with its line. Whether the files exist is not looked at.
    """
    lines = _lines(path)
    header_line, header = lines[0]
    columns = [cell.strip() for cell in header.split("\t")]
    errors = _header_errors(path, header_line, columns)
    if errors:
        raise CohortErrors(errors)
    slides = []
    for number, text in lines[1:]:
        cells = [cell.strip() for cell in text.split("\t")]
        if len(cells) != len(columns):
            errors.append(_wrong_number_of_cells(path, number, len(cells), len(columns)))
            continue
        row = dict(zip(columns, cells, strict=True))
        row_errors = _row_errors(row, f"{path}:{number}")
        errors += row_errors
        if not row_errors:
            slides.append(_slide(row, number, path.parent))
    errors += _duplicates(path, slides)
    if not slides and not errors:
        errors = [CohortError("the table has no slides", str(path), "Add a row for each slide")]
    if errors:
        raise CohortErrors(errors)
    return slides


def write_slides(path: Path, slides: Iterable[Slide]) -> None:
    """Write a slide table with absolute paths."""
    slides = list(slides)
    extra = list(slides[0].extra)
    columns = (*COLUMNS, *extra)
    rows = ({column: slide.value(column) for column in columns} for slide in slides)
    write_table(path, columns, rows)


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CohortErrors(
            [
                CohortError(
                    f"cannot be read ({error.strerror})", str(path), "Set `slides` to the table"
                )
            ]
        ) from error
    except UnicodeDecodeError as error:
        raise CohortErrors(
            [CohortError("is not UTF-8 text", str(path), "Save the table as UTF-8 text")]
        ) from error
    lines = [
        (number, line)
        # Not splitlines(): it also breaks at characters that may stand inside a cell.
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
        if line.strip()
    ]
    while lines and lines[0][1].startswith("#"):
        del lines[0]
    if not lines:
        raise CohortErrors(
            [CohortError("the table is empty", str(path), f"Start it with {', '.join(_REQUIRED)}")]
        )
    return lines


def _header_errors(path: Path, line: int, columns: list[str]) -> list[CohortError]:
    where = f"{path}:{line}"
    errors = [
        CohortError(
            f"column {name!r} is missing",
            where,
            "Add it; columns are separated by tabs" + (" (found none)" if len(columns) < 2 else ""),
        )
        for name in _REQUIRED
        if name not in columns
    ]
    for name in dict.fromkeys(columns):
        known = name.casefold()
        if name != known and known in COLUMNS:
            # Taken for a column of the user's own, `Patient` would let patients leak over splits.
            errors.append(
                CohortError(f"column {name!r} is written differently", where, f"Write {known!r}")
            )
        elif not name:
            errors.append(CohortError("a column has no name", where, "Name it or remove its tab"))
        elif columns.count(name) > 1:
            errors.append(CohortError(f"column {name!r} stands twice", where, "Remove one of them"))
    return errors


def _wrong_number_of_cells(path: Path, line: int, found: int, wanted: int) -> CohortError:
    return CohortError(
        f"{found} cells, but the header has {wanted}",
        f"{path}:{line}",
        "Separate cells by single tabs and leave unknown ones empty",
    )


def _row_errors(row: dict[str, str], where: str) -> list[CohortError]:
    errors = []
    name = row["slide"]
    if not _NAME.fullmatch(name):
        errors.append(
            CohortError(
                f"slide name {name!r} is not usable as a file name",
                where,
                "Use letters, digits, '_', '.' and '-', starting with a letter or digit",
            )
        )
    if not row["path"]:
        errors.append(CohortError("the path is empty", where, "Name the slide file"))
    split = row.get("split", "")
    if split and split not in set(Split):
        errors.append(
            CohortError(
                f"unknown split {split!r}", where, f"Use {', '.join(Split)} or leave it empty"
            )
        )
    if row.get("mpp") and not _is_plausible_mpp(row["mpp"]):
        errors.append(
            CohortError(
                f"mpp {row['mpp']!r} is not a number of microns per pixel from 0.05 to 20",
                where,
                "Write it with a decimal point, such as 0.25, or leave it empty",
            )
        )
    return errors


def _is_plausible_mpp(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and 0.05 <= value <= 20.0


def _slide(row: dict[str, str], line: int, folder: Path) -> Slide:
    annotation, mask = row.get("annotation"), row.get("mask")
    return Slide(
        slide=row["slide"],
        path=(folder / row["path"]).absolute(),
        patient=row.get("patient") or row["slide"],
        label=row.get("label", ""),
        annotation=(folder / annotation).absolute() if annotation else None,
        centre=row.get("centre", ""),
        split=Split(row["split"]) if row.get("split") else None,
        mpp=float(row["mpp"]) if row.get("mpp") else None,
        mask=(folder / mask).absolute() if mask else None,
        extra={name: cell for name, cell in row.items() if name not in COLUMNS},
        line=line,
    )


def _duplicates(path: Path, slides: list[Slide]) -> list[CohortError]:
    # Case is folded: on some file systems A.h5 and a.h5 are one file.
    lines = defaultdict(list)
    for slide in slides:
        lines[slide.slide.casefold()].append(slide)
    return [
        CohortError(
            f"slide {again.slide!r} stands already in line {same[0].line}",
            f"{path}:{again.line}",
            "Remove the row or give the slide another name",
        )
        for same in lines.values()
        for again in same[1:]
    ]

"""Tab-separated tables, written in one step, every value a string."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lamella.stores.atomic import write_text

Row = dict[str, str]

_ESCAPES = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows in the given order; ``None`` and absent values are empty cells.

    Tabs and line breaks inside a value become blanks.
    """
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row.get(column)) for column in columns) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table that ``write_table`` wrote."""
    # Not splitlines(): it also breaks at characters that may stand inside a cell.
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    columns = header.split("\t")
    return [dict(zip(columns, line.split("\t"), strict=True)) for line in lines]


def written(figure: float | None, form: str) -> str | None:
    """Return a figure as a cell, in a form such as ``.3f``; an absent one stays absent."""
    return None if figure is None else format(figure, form)


def _cell(value: object) -> str:
    return "" if value is None else str(value).translate(_ESCAPES)

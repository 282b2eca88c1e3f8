"""Find slides that moved, and write their new places into the slide table."""

import os
from collections import defaultdict
from pathlib import Path

from lamella.cohort.table import read_slides
from lamella.errors import CohortError, CohortErrors
from lamella.stores.atomic import write_text

_FILE_COLUMNS = ("path", "annotation", "mask")


def relocate_slides(table: Path, root: Path) -> list[tuple[str, str]]:
    """Give every file of the slide table that is not there its new place below ``root``.

    A file is known by its name; of several with one name, the one that shares the most folders
    with the old place is taken. Everything else in the table stays as it is. Nothing is made
    anew because of it: a slide is known by its content.

    Args:
        table: The user's slide table; rewritten in one step.
        root: The folder that the files lie in now.

    Returns:
        Old and new path of every file that moved; empty when all files were there.

    Raises:
        CohortErrors: the table is malformed, or a missing file has no or several equally good
            places, or one that another file has taken; the table is left as it was.
    """
    lines = {
        path: slide.line
        for slide in read_slides(table)
        for path in (slide.path, slide.annotation, slide.mask)
        if path is not None and not path.exists()
    }
    places = _places(root)
    moved: dict[Path, Path] = {}
    taken: set[Path] = set()
    errors: list[CohortError] = []
    for old, line in lines.items():
        found = _best_places(old, places.get(old.name, []))
        if len(found) == 1 and found[0] not in taken:
            moved[old] = found[0]
            taken.add(found[0])
        else:
            errors.append(_unclear(old, f"{table}:{line}", root, found))
    if errors:
        raise CohortErrors(errors)
    if moved:
        _rewrite(table, moved)
    return [(str(old), str(new)) for old, new in moved.items()]


def _places(root: Path) -> dict[str, list[Path]]:
    places = defaultdict(list)
    for folder, _, names in os.walk(root.absolute()):
        for name in names:
            places[name].append(Path(folder, name))
    return places


def _best_places(old: Path, places: list[Path]) -> list[Path]:
    shared = {place: _shared_folders(old, place) for place in places}
    most = max(shared.values(), default=0)
    return [place for place, count in shared.items() if count == most]


def _shared_folders(old: Path, new: Path) -> int:
    """Return how many names two paths have in common, counted from their ends."""
    count = 0
    for mine, other in zip(reversed(old.parts), reversed(new.parts), strict=False):
        if mine != other:
            break
        count += 1
    return count


def _unclear(old: Path, where: str, root: Path, found: list[Path]) -> CohortError:
    if not found:
        what = f"{old} is not there, and no file of that name lies below {root}"
        return CohortError(what, where, "Name another folder, or remove the row")
    if len(found) == 1:
        what = f"{old} would be {found[0]}, which another row of that file name has become already"
        return CohortError(what, where, "Copy the missing file, or write the right path")
    places = ", ".join(map(str, found))
    return CohortError(f"{old} may be any of {places}", where, "Write the right one into the table")


def _rewrite(table: Path, moved: dict[Path, Path]) -> None:
    # Not read_text(), which would change the line endings.
    lines = table.read_bytes().decode("utf-8-sig").split("\n")
    columns: list[str] = []
    for number, line in enumerate(lines):
        if not line.strip() or (not columns and line.startswith("#")):
            continue
        cells = line.removesuffix("\r").split("\t")
        if not columns:
            columns = [cell.strip() for cell in cells]
            continue
        for place in (columns.index(name) for name in _FILE_COLUMNS if name in columns):
            old = (table.parent / cells[place].strip()).absolute()
            cells[place] = str(moved.get(old, cells[place]))
        lines[number] = "\t".join(cells) + "\r" * line.endswith("\r")
    write_text(table, "\n".join(lines))

"""Tab-separated tables."""

from pathlib import Path

from lamella.stores.tables import read_table, write_table


def test_cells_with_tabs_and_line_breaks_stay_one_cell(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    write_table(
        path, ("slide", "error", "n"), [{"slide": "a", "error": "x\ty\nz", "n": 3}, {"slide": "b"}]
    )
    assert path.read_text() == "slide\terror\tn\na\tx y z\t3\nb\t\t\n"
    assert read_table(path)[1] == {"slide": "b", "error": "", "n": ""}


def test_unusual_line_breaks_stay_inside_their_cell(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    write_table(path, ("slide", "error"), [{"slide": "a", "error": "x\x0by\u2028z"}])
    assert read_table(path) == [{"slide": "a", "error": "x\x0by\u2028z"}]

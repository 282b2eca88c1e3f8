"""What lies in the results: states, quarantined slides, files of no slide."""

from pathlib import Path

from lamella.cli import main
from lamella.fleet.manifest import ManifestRow, Status, write_manifest
from lamella.fleet.status import report_lines, stage_statuses


def results(folder: Path) -> Path:
    """One stage: a finished slide with a dot in its name, one whose file is gone, a failed one."""
    stage = folder / "results" / "patches"
    (stage / "slides").mkdir(parents=True)
    for name in ("a.b.h5", "old.h5", "torn.h5"):
        (stage / "slides" / name).write_bytes(bytes(1024))
    rows = [
        ManifestRow("a.b", Status.DONE, "slides/a.b.h5", 3, "f"),
        ManifestRow("gone", Status.DONE, "slides/gone.h5", 3, "f"),
        ManifestRow("torn", Status.FAILED, error="torn.svs: it is torn. Copy it", stage="extract"),
    ]
    write_manifest(stage / "manifest.tsv", rows)
    return folder / "results"


def test_states_missing_files_and_orphans_of_a_stage(tmp_path: Path) -> None:
    (stage,) = stage_statuses(results(tmp_path))
    assert stage.counts == {Status.DONE: 2, Status.FAILED: 1}
    assert [row.slide for row in stage.missing] == ["gone"]
    assert [row.slide for row in stage.failed] == ["torn"]
    # A failed slide's older file is good again when the slide is mended.
    assert [path.name for path in stage.orphans] == ["old.h5"]
    assert stage.bytes_used == 3 * 1024


def test_report_says_counts_reasons_and_remedies(tmp_path: Path) -> None:
    root = results(tmp_path)
    header, row, *rest = report_lines(list(stage_statuses(root)), root)
    assert header.split() == ["done", "empty", "failed", "missing", "size"]
    assert row.split() == ["patches", "2", "0", "1", "1", "0.0", "MiB"]
    assert rest == [
        "torn is quarantined since extract: torn.svs: it is torn. Copy it",
        "`lamella retry` lets the next run try these again",
        "1 files are of no slide in the table; `lamella clean` lists them",
    ]


def test_clean_lists_and_deletes_only_when_told(tmp_path: Path, capsys) -> None:
    root = results(tmp_path)
    slides = root / "patches" / "slides"
    assert main(["clean", str(root)]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == ["old.h5"]
    assert len(list(slides.iterdir())) == 3
    assert main(["clean", str(root), "--delete"]) == 0
    assert sorted(path.name for path in slides.iterdir()) == ["a.b.h5", "torn.h5"]


def test_status_before_the_first_stage_has_ended(tmp_path: Path, capsys) -> None:
    assert main(["status", str(tmp_path)]) == 0
    assert "no stage has ended" in capsys.readouterr().out

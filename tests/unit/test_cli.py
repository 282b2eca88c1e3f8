import pytest

from lamella.cli import main


def refused(arguments, capsys):
    assert main(arguments) == 1
    return capsys.readouterr().err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for command in (
        "draw-cohort",
        "check",
        "costs",
        "import-patches",
        "plan",
        "engines",
        "compare-runs",
        "sync-tracking",
        "document",
    ):
        assert f"\n    {command}" in text


def test_drawing_options_are_the_drawing_settings(capsys):
    with pytest.raises(SystemExit):
        main(["draw-cohort", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--width-um VALUE" in text
    assert "(default: 2000.0)" in text


def test_draw_cohort_draws_slides_and_their_table(tmp_path):
    size = ["--width-um", "200", "--height-um", "200"]
    assert main(["draw-cohort", str(tmp_path), "--slides", "2", *size]) == 0
    header, *rows = (tmp_path / "slides.tsv").read_text().splitlines()
    assert len(rows) == 2
    path = header.split("\t").index("path")
    assert all((tmp_path / row.split("\t")[path]).is_file() for row in rows)


def test_option_out_of_range_is_one_line_and_exit_code_1(tmp_path, capsys):
    line = refused(["draw-cohort", str(tmp_path / "new"), "--slides", "0"], capsys)
    assert line.startswith("command line: slides: ")
    assert line.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_sync_tracking_names_a_config_file_that_is_absent(tmp_path, capsys):
    absent = tmp_path / "absent.yaml"
    line = refused(["sync-tracking", str(tmp_path), "--configfile", str(absent)], capsys)
    assert str(absent) in line


def test_sync_tracking_refuses_a_wrong_address(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("tracking:\n  uri: nowhere\n")
    line = refused(["sync-tracking", str(tmp_path), "--configfile", str(config)], capsys)
    assert f"{config}: uri: " in line


def test_check_without_manifest_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert "manifest.tsv" in refused(["check", str(tmp_path)], capsys)


def test_import_patches_asks_for_the_resolution_and_names_the_file_at_fault(tmp_path, capsys):
    absent, output = str(tmp_path / "absent.h5"), str(tmp_path / "results")
    with pytest.raises(SystemExit):
        main(["import-patches", absent, output])
    assert "--mpp" in capsys.readouterr().err
    line = refused(["import-patches", absent, output, "--mpp", "0.5"], capsys)
    assert line.startswith(f"{absent}: ")
    assert line.count("\n") == 1


def test_document_writes_once(tmp_path, caplog):
    (tmp_path / "config").mkdir()
    manual = tmp_path / "config" / "README.md"
    manual.write_text("<!-- settings: made by `make docs` -->\n<!-- end of settings -->\n")
    assert main(["document", str(tmp_path)]) == 0
    assert "`patches.mpp`" in manual.read_text()
    first = manual.stat().st_mtime_ns
    assert main(["document", str(tmp_path)]) == 0
    assert manual.stat().st_mtime_ns == first

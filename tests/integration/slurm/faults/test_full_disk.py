"""The disk of the results is full."""

import subprocess


def test_full_disk_is_told_in_one_line_and_a_second_start_completes(study, mounted):
    results = study.folder / "results/train"
    results.mkdir()
    with mounted(results, "size=100k"):
        try:
            assert study.run() == 1
            (reason,) = study.reasons
            assert "checkpoint.pt: it cannot be written (No space left on device). " in reason
            subprocess.run(["mount", "-o", "remount,size=100m", results], check=True)
            assert study.run() == 0, study.said
            assert study.is_complete
        finally:
            # A job that still writes there would keep it.
            study.end()

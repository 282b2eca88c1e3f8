"""The folds of docs/splits.md, run as it says, share masks and patches."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lamella.drawing.cohort import draw_cohort
from lamella.drawing.settings import DrawingSettings
from lamella.patches.index import read_index

REPOSITORY = Path(__file__).parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def documented_commands() -> str:
    text = (REPOSITORY / "docs/splits.md").read_text()
    (block,) = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return block


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder as after a clone, with two drawn slides of two patients."""
    for name in ("Snakefile", "workflow", "scripts", "profiles"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    drawing = DrawingSettings(
        slides=2, slides_per_patient=1, width_um=400, height_um=300, seed=3, pen_share=0
    )
    draw_cohort(tmp_path / "drawn", drawing)
    (tmp_path / "config").mkdir()
    config = {"slides": str(tmp_path / "drawn/slides.tsv"), "patches": {"size_px": 64, "mpp": 0.5}}
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_every_fold_has_its_own_index_and_none_extracts_anew(study: Path) -> None:
    # Two folds, and no training: the index is where folds part.
    commands = documented_commands()
    for documented, tried in (
        ("1 2 3 4 5", "1 2"),
        ("folds: 5", "folds: 2"),
        ("snakemake train", "snakemake patches"),
    ):
        assert commands.count(documented) == 1
        commands = commands.replace(documented, tried)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euc", commands],
        cwd=study,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
    tested = []
    for fold in ("1", "2"):
        results = study / "folds" / fold / "results"
        for stage in ("segment_tissue", "extract_patches"):
            log = (results / f"logs/{stage}.log").read_text()
            assert f"{stage}: 0 slides to do, 2 already done" in log
        table = read_index(results / "patches/index.parquet").table
        tested.append(set(table[table["split"] == "test"]["patient"]))
        assert set(table["patient"]) == {"patient-001", "patient-002"}
    assert sorted(len(patients) for patients in tested) == [1, 1]
    assert tested[0] != tested[1]

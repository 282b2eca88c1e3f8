"""OpenSlide and the learning libraries bring image libraries of their own; they must not mix."""

import subprocess
import sys
from pathlib import Path

import pytest

from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide

PROGRAM = """
import importlib, sys
for name in sys.argv[2].split(","):
    importlib.import_module(name)
from pathlib import Path
from lamella.slides.reader import SlideReader
from lamella.slides.settings import DEFAULT_READING
from lamella.units import Level0Pixels
with SlideReader(Path(sys.argv[1]), DEFAULT_READING) as reader:
    print(int(reader.read_overview(Level0Pixels(16)).sum()))
import torch
print(float(torch.eye(64).inverse().sum()))
"""


@pytest.mark.timeout(300)
def test_pixels_are_the_same_whatever_was_imported_before(tmp_path: Path) -> None:
    draw_slide(tmp_path / "a.svs", SlideSpec(300, 200, seed=4))
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "a.svs", before],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for before in ("openslide", "torch,torchvision", "onnxruntime,openvino,h5py,imagecodecs")
    }
    assert len(said) == 1
    assert "64.0" in said.pop()

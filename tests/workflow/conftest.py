"""A working folder of its own for Snakemake, away from the repository's results."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
LOCAL = REPOSITORY / "profiles" / "local"


@dataclass(frozen=True)
class Answer:
    """What Snakemake said."""

    returncode: int
    text: str

    @property
    def jobs(self) -> dict[str, int]:
        """Number of planned jobs per rule."""
        stats = re.search(r"^Job stats:\n(.*?)^total ", self.text, re.MULTILINE | re.DOTALL)
        lines = stats[1].splitlines()[2:] if stats else []
        return {line.split()[0]: int(line.split()[1]) for line in lines}


class Workplace:
    """A folder with a config file and a slide table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write_slides(3)
        self.write_config({"study": "test"})

    def write_config(self, settings: Mapping[str, object], name: str = "config.yaml") -> Path:
        path = self.folder / "config" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(dict(settings)))
        return path

    def write_slides(self, count: int) -> None:
        rows = (f"slide{i}\tslides/{i}.tiff\tpatient{i // 2}\tnormal" for i in range(count))
        self.write_table("slide\tpath\tpatient\tlabel", *rows)

    def write_table(self, *lines: str) -> None:
        path = self.folder / "config" / "slides.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    def snakemake(self, *arguments: str | Path, profile: Path = LOCAL) -> Answer:
        ended = subprocess.run(
            [
                Path(sys.executable).with_name("snakemake"),
                "--snakefile",
                REPOSITORY / "Snakefile",
                "--profile",
                profile,
                *arguments,
            ],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=280,
        )
        return Answer(ended.returncode, ended.stdout)


@pytest.fixture
def workplace(tmp_path):
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def finished_workplace(tmp_path_factory):
    """A workplace in which every output exists and Snakemake believes that it made them."""
    return finish(Workplace(tmp_path_factory.mktemp("finished")))


@pytest.fixture(scope="session")
def finished_workloads(tmp_path_factory):
    """The same, with two workloads in the benchmark."""
    place = Workplace(tmp_path_factory.mktemp("workloads"))
    place.write_config({"benchmark": {"cases": ["patches", "ct", "wsi"]}})
    return finish(place)


def finish(place):
    """Have every output exist, and Snakemake believe that it made them."""
    plan = place.snakemake("--dry-run")
    assert plan.returncode == 0, plan.text
    for line in re.findall(r"^    output: (.*)$", plan.text, re.MULTILINE):
        for name in line.split(", "):
            path = place.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    touched = place.snakemake("--touch", "--forceall")
    assert touched.returncode == 0, touched.text
    return place

"""What a container shows of the machine, and how a program starts in it."""

import sys
from pathlib import Path

import pytest

from lamella.errors import SettingsError
from lamella.slurm.container import (
    folders_of,
    image_of,
    python_in,
    shown_folders,
    told,
    variables,
)
from lamella.slurm.settings import SiteSettings


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Have a program of that name on the PATH, and no other; here it is only looked for."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def put(name):
        program = programs / name
        program.touch(mode=0o755)
        return name

    return put


def test_without_a_container_python_is_this_one():
    assert image_of(SiteSettings()) is None
    assert python_in(None) == [sys.executable]


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
def test_with_a_container_python_is_that_of_the_image(tmp_path, monkeypatch, engine, name):
    engine(name)
    (tmp_path / "lamella.sif").touch()
    monkeypatch.chdir(tmp_path)
    image = image_of(SiteSettings(container=Path("lamella.sif")))
    assert image == tmp_path / "lamella.sif"
    assert python_in(image) == [name, "exec", str(tmp_path / "lamella.sif"), "python"]


def test_image_that_is_not_there_is_refused(tmp_path, engine):
    engine("apptainer")
    with pytest.raises(SettingsError, match=r"there is no image .*lamella\.sif.*make containers"):
        image_of(SiteSettings(container=tmp_path / "lamella.sif"))
    # A reference to a registry is no file: nodes have no internet.
    with pytest.raises(SettingsError, match="apptainer pull"):
        image_of(SiteSettings(container=Path("docker://lamella:latest")))


def test_image_with_a_space_in_its_path_is_refused(tmp_path, engine):
    engine("apptainer")
    (tmp_path / "my image.sif").touch()
    with pytest.raises(SettingsError, match="no image with a space"):
        image_of(SiteSettings(container=tmp_path / "my image.sif"))


@pytest.mark.usefixtures("engine")
def test_machine_without_an_engine_is_named(tmp_path):
    (tmp_path / "lamella.sif").touch()
    with pytest.raises(SettingsError, match="has neither apptainer nor singularity"):
        image_of(SiteSettings(container=tmp_path / "lamella.sif"))


def test_shows_few_folders_near_the_root_and_leaves_the_image_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: path != Path("/absent"))
    folders = [
        *("/gpfs/project/slides/a", "/gpfs/project/slides/b", "/absent/slides"),
        *("/home/ann/study", "/mnt/archive/slides", "/usr/local/share/slides", "/var/scratch/ann"),
        *("/tmp/study", "/dev/shm", "/"),
    ]
    assert list(map(str, shown_folders(map(Path, folders)))) == [
        "/gpfs",
        "/home/ann",
        "/mnt/archive",
        "/usr/local/share/slides",
        "/var/scratch/ann",
    ]


def test_folder_that_would_hide_the_environment_of_the_image_is_refused():
    with pytest.raises(SettingsError, match="/opt/lamella lies where the image has Lamella"):
        shown_folders([Path("/opt/lamella/study")])


def test_folder_whose_name_an_engine_cannot_be_given_is_refused():
    with pytest.raises(SettingsError, match="a comma or a colon"):
        shown_folders([Path("/scans:2024/slides")])


def test_folders_of_files_are_also_those_that_links_lead_to(tmp_path):
    for name in ("archive", "new-archive", "study"):
        (tmp_path / name).mkdir()
    (tmp_path / "archive/a.svs").touch()
    (tmp_path / "study/a.svs").symlink_to(tmp_path / "archive/a.svs")
    (tmp_path / "scans").symlink_to(tmp_path / "new-archive")
    found = folders_of([tmp_path / "study/a.svs", tmp_path / "scans/b.svs"])
    assert found == {tmp_path / name for name in ("archive", "new-archive", "scans", "study")}


def test_engine_is_told_of_folders_beside_those_that_it_was_told_of_before():
    before = {"APPTAINER_BIND": "/lustre,/gpfs"}
    shown = [Path("/gpfs"), Path("/home/ann")]
    asked = variables("apptainer", shown, Path("/home/ann/lamella/src"), before, gpus=False)
    assert asked == {
        "APPTAINER_BIND": "/lustre,/gpfs,/home/ann",
        "APPTAINERENV_PYTHONPATH": "/home/ann/lamella/src",
    }
    again = variables("apptainer", shown, Path("/home/ann/lamella/src"), asked, gpus=True)
    assert again == asked | {"APPTAINER_NV": "true"}


def test_no_secret_of_the_environment_is_written_into_a_job():
    asked = variables("apptainer", [Path("/gpfs")], Path("/gpfs/src"), {}, gpus=True)
    secrets = {"APPTAINER_DOCKER_PASSWORD": "secret", "SINGULARITYENV_TOKEN": "secret"}
    assert told({**asked, **secrets, "HOME": "/home/ann"}) == asked
    assert len(asked) == 3

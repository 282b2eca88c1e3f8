"""The container of a site: what it shows of the machine, and how a program starts in it.

Snakemake starts the programs of its rules in it. Lamella itself starts only what SLURM and its
launcher start for it there: the workers of a stage, and the ranks of a training. What a container
shows stands in the environment, which all of them inherit.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import lamella
from lamella.errors import SettingsError
from lamella.slurm.settings import SiteSettings

IN_IMAGE = Path("/opt/lamella")
"""Where images have Lamella and its environment; containers/ makes them so."""

LOCK = Path(lamella.__file__).parents[2] / "envs" / "lamella.lock"
"""What this checkout's environment is made from."""

_SETTING = "site.container"
# As Snakemake chooses.
_ENGINES = ("apptainer", "singularity")
_TOLD = ("_BIND", "ENV_PYTHONPATH", "_NV")
# What engines show anyhow.
_SHOWN_ANYHOW = {"dev", "proc", "sys", "tmp"}
# Folders that users have something in, and that every image has, too.
_OF_USERS = {"home", "media", "mnt", "opt", "root", "srv"}
# Of these an image has its own, and needs it.
_OF_IMAGE = {"bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "run", "sbin", "usr", "var"}
_START_LIMIT_S = 300


def image_of(site: SiteSettings) -> Path | None:
    """Return the image that the site's jobs run in, as an absolute path; ``None``: in none.

    Raises:
        SettingsError: it is not there, or nothing here can run it.
    """
    if site.container is None:
        return None
    image = site.container.absolute()
    if not image.exists():
        raise SettingsError(
            f"there is no image {image}",
            _SETTING,
            "Build it with `make containers`, or fetch one: `apptainer pull lamella.sif docker://…`",
        )
    if any(character.isspace() for character in str(image)):
        raise SettingsError(
            f"Snakemake takes no image with a space in its path ({image})",
            _SETTING,
            "Let it lie elsewhere",
        )
    engine()
    return image


def engine() -> str:
    """Return the name of the program that runs containers.

    Raises:
        SettingsError: there is none.
    """
    for name in _ENGINES:
        if shutil.which(name) is not None:
            return name
    raise SettingsError(
        f"{os.uname().nodename} has neither {' nor '.join(_ENGINES)}",
        _SETTING,
        "Load the site's module for it before Snakemake is started, or leave the setting null",
    )


def python_in(image: Path | None) -> list[str]:
    """Return the beginning of a call of Python: that of an image, or without one this Python."""
    return [engine(), "exec", str(image), "python"] if image is not None else [sys.executable]


def show(slides: Iterable[Path], named: Iterable[Path], *, gpus: bool) -> None:
    """Have all containers that this process and its children start show what jobs need.

    That is the working folder, the one for what is temporary, and the sources of this checkout,
    which the containers' Python runs: what plans a job and what runs in it are then one.

    Args:
        slides: Files of slides, as many as there are.
        named: Files and folders that the settings name; what this machine does not have is left
            out.
        gpus: Whether the driver of its GPUs is shown, too.

    Raises:
        SettingsError: a folder would hide something of the image.
    """
    sources = Path(lamella.__file__).parents[1]
    expanded = [Path(os.path.expandvars(path)) for path in named]
    files = {path for path in expanded if path.is_file()}
    folders = {Path.cwd(), Path(tempfile.gettempdir()), sources, *expanded} - files
    folders |= {folder.resolve() for folder in folders}
    shown = shown_folders(folders | folders_of([*slides, *files]))
    os.environ.update(variables(engine(), shown, sources, os.environ, gpus=gpus))


def variables(
    engine_name: str,
    shown: Sequence[Path],
    sources: Path,
    environment: Mapping[str, str],
    *,
    gpus: bool,
) -> dict[str, str]:
    """Return the environment variables by which an engine is told what its containers are like.

    Folders that the site or the user has named there already stay.
    """
    begin = engine_name.upper()
    before = environment.get(f"{begin}_BIND", "").split(",")
    binds = dict.fromkeys(filter(None, [*before, *map(str, shown)]))
    asked = {f"{begin}_BIND": ",".join(binds), f"{begin}ENV_PYTHONPATH": str(sources)}
    return asked | ({f"{begin}_NV": "true"} if gpus else {})


def told(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those of ``variables`` that an environment has; no others, which may be secrets."""
    names = {f"{name.upper()}{end}" for name in _ENGINES for end in _TOLD}
    return {name: value for name, value in environment.items() if name in names}


def shown_folders(folders: Iterable[Path]) -> list[Path]:
    """Return what a container must show so that folders are in it, few and in order.

    Raises:
        SettingsError: one of them would hide something of the image, or has a name that an engine
            cannot be given.
    """
    found = {shown for folder in folders if (shown := _shown(folder.absolute()))}
    for folder in found:
        if folder.is_relative_to(IN_IMAGE):
            raise SettingsError(
                f"{folder} lies where the image has Lamella itself",
                _SETTING,
                "Let checkout, study and slides lie elsewhere",
            )
        if {",", ":"} & set(str(folder)):
            raise SettingsError(
                f"no container can show {str(folder)!r}, for its name has a comma or a colon",
                _SETTING,
                "Let what jobs read and write lie elsewhere",
            )
    return sorted(folder for folder in found if folder.exists())


def _shown(folder: Path) -> Path | None:
    """Return the folder to show for one: as near to the root as leaves the image whole."""
    _, top, *_ = (*folder.parts, "", "")
    if top in _SHOWN_ANYHOW or not top:
        return None
    if top in _OF_IMAGE:
        return folder
    return Path(*folder.parts[: 3 if top in _OF_USERS else 2])


def folders_of(files: Iterable[Path]) -> set[Path]:
    """Return the folders that files lie in; of links, also those that they lead to."""
    parents: set[Path] = set()
    for file in files:
        parents.add(file.parent)
        if file.is_symlink():
            parents.add(file.resolve().parent)
    return parents | {parent.resolve() for parent in parents}


def check_environment(image: Path, lock: Path) -> None:
    """Check that an image holds the environment of a lock file.

    Raises:
        SettingsError: it does not, or cannot be started.
    """
    command = [engine(), "exec", str(image), "cat", str(IN_IMAGE / "envs" / lock.name)]
    remedy = f"Try it: {shlex.join(command)}; images are built by `make containers`"
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        what = f"{image} did not start in {_START_LIMIT_S} s"
        raise SettingsError(what, _SETTING, remedy) from error
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise SettingsError(f"{image} cannot be used ({said})", _SETTING, remedy)
    if ended.stdout != lock.read_text():
        raise SettingsError(
            f"{image} was made from another envs/{lock.name} than that of this checkout",
            _SETTING,
            "Build it anew with `make containers`",
        )

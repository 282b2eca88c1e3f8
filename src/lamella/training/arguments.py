"""The command line of ``python -m lamella.training``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lamella.errors import SettingsError
from lamella.settings import Settings
from lamella.slurm.settings import Launcher
from lamella.tracking.settings import TrackingSettings
from lamella.training.settings import TrainingSettings

Section = TypeVar("Section", bound=Settings)


@dataclass(frozen=True)
class Arguments:
    """What to train, and where."""

    index: Path
    slides: Path | None
    output: Path
    run: str
    seed: int
    training: TrainingSettings
    tracking: TrackingSettings
    log: Path
    requeue: bool
    launcher: Launcher
    container: Path | None


def read_arguments(words: Sequence[str]) -> Arguments:
    """Return the arguments of a command line.

    Raises:
        SettingsError: the settings are not what the settings classes allow.
        SystemExit: an argument is missing or unknown.
    """
    found = _parser().parse_args(words)
    training = _parsed(TrainingSettings, found.settings, "--settings")
    if found.run not in training.runs:
        raise SettingsError(
            f"there is no run {found.run!r}", "--run", f"Take one of {sorted(training.runs)}"
        )
    return Arguments(
        index=found.index,
        slides=found.slides,
        output=found.output,
        run=found.run,
        seed=found.seed,
        training=training,
        tracking=_parsed(TrackingSettings, found.tracking, "--tracking"),
        log=found.log,
        requeue=found.requeue,
        launcher=found.launcher,
        container=found.container,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lamella.training", description="Train one network.")
    parser.add_argument("--index", type=Path, required=True, help="table of all patches")
    parser.add_argument("--slides", type=Path, help="slide table, for runs that learn its columns")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--run", required=True, help="name of the run in the settings")
    parser.add_argument("--seed", type=int, required=True, help="seed of all that is random")
    parser.add_argument("--settings", required=True, help="TrainingSettings as JSON")
    parser.add_argument("--tracking", default="{}", help="TrackingSettings as JSON")
    parser.add_argument("--log", type=Path, required=True, help="file for the log")
    parser.add_argument(
        "--requeue",
        action="store_true",
        help="have SLURM queue this job again when the training stops before its end",
    )
    parser.add_argument(
        "--launcher",
        type=Launcher,
        choices=list(Launcher),
        default=Launcher.SRUN,
        help="what starts the processes; with srun, on one node, this program does",
    )
    parser.add_argument("--container", type=Path, help="image that the ranks run in")
    return parser


def _parsed(kind: type[Section], text: str, where: str) -> Section:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError(str(error), where, "Correct the settings") from error

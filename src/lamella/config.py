"""The whole config file: every section, checked at once, faults named by file and line."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from lamella.benchmark.settings import BenchmarkCase, BenchmarkSettings
from lamella.cohort.settings import SplitSettings
from lamella.cohort.split import split_patients
from lamella.cohort.table import Slide, read_slides
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import slide_truth
from lamella.engines.settings import ParitySettings, Precision
from lamella.errors import CohortError, CohortErrors, SettingsError
from lamella.export.settings import ExportSettings
from lamella.fleet.settings import ClusterKind, FleetSettings
from lamella.interpret.settings import InterpretSettings
from lamella.models.names import has_network, names_instead, network_names
from lamella.patches.settings import PatchSettings
from lamella.predict.settings import PredictSettings
from lamella.settings import Settings
from lamella.slides.settings import ReadingSettings
from lamella.slurm.settings import Launcher, SiteSettings
from lamella.tissue.settings import TissueMethod, TissueSettings
from lamella.tracking.settings import TrackingSettings
from lamella.training.settings import Backend, TrainingSettings
from lamella.workloads.settings import WorkloadSettings

_Location = tuple[str | int, ...]


class Config(Settings):
    """Everything that can be set, one section per room."""

    study: str = Field(default="lamella", min_length=1)
    """Name of the study; the MLflow experiment is called after it."""

    slides: Path = Path("config/slides.tsv")
    """The table of slides; relative to the folder that Snakemake works in."""

    split: SplitSettings = SplitSettings()
    """How patients are divided into training, validation and test."""

    fleet: FleetSettings = FleetSettings()
    """How many workers there are and what they may use."""

    reading: ReadingSettings = ReadingSettings()
    """How slide files are read."""

    tissue: TissueSettings = TissueSettings()
    """How tissue is told from glass."""

    patches: PatchSettings = PatchSettings()
    """Which squares are cut from the tissue."""

    training: TrainingSettings = TrainingSettings()
    """Which networks are trained, and how."""

    export: ExportSettings = ExportSettings()
    """How trained networks are exported."""

    parity: ParitySettings = ParitySettings()
    """How the engines' answers are compared with those of the trained network."""

    predict: PredictSettings = PredictSettings()
    """How slides are predicted."""

    interpret: InterpretSettings = InterpretSettings()
    """Which patches are explained."""

    benchmark: BenchmarkSettings = BenchmarkSettings()
    """Which inference engines are compared, and how."""

    workloads: WorkloadSettings = WorkloadSettings()
    """How large the benchmark's workloads are, and on what they run."""

    tracking: TrackingSettings = TrackingSettings()
    """Where runs are recorded."""

    site: SiteSettings = SiteSettings()
    """The cluster that a study runs on."""

    def with_workers_here(self) -> Self:
        """Return the settings for a run that submits no jobs: its workers run beside the stages."""
        here = self.fleet.model_copy(update={"cluster": ClusterKind.LOCAL})
        return self.model_copy(update={"fleet": here})

    @field_validator("slides")
    @classmethod
    def _expand(cls, slides: Path) -> Path:
        return Path(os.path.expandvars(slides))


class ConfigErrors(SettingsError):
    """Everything that is wrong with the config files, a line each."""

    def __init__(self, errors: Sequence[SettingsError]) -> None:
        first = errors[0]
        super().__init__(first.what, first.where, first.remedy)
        self.args = (errors,)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def load_config(values: Mapping[str, Any], files: Sequence[Path | str]) -> Config:
    """Return the checked settings.

    Args:
        values: The merged config, as Snakemake holds it.
        files: The config files in the order in which they were merged; only read to name
            file and line of a fault.

    Raises:
        ConfigErrors: settings are unknown, of a wrong type or out of range, contradict each other
            or stand twice in one file, or there is no such network; all are named.
    """
    lines = _Lines([Path(file) for file in files])
    repeated = list(lines.repeated())
    if repeated:
        raise ConfigErrors(repeated)
    try:
        config = Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigErrors([_settings_error(found, lines) for found in error.errors()]) from error
    faults = [
        *((*found, "Correct one of the two") for found in _contradictions(config)),
        *_unknown_networks(config),
    ]
    if faults:
        raise ConfigErrors(
            [
                SettingsError(what, f"{lines.find(location)}: {'.'.join(location)}", remedy)
                for location, what, remedy in faults
            ]
        )
    return config


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the plain values of one config file.

    Raises:
        SettingsError: there is no such file.
    """
    if not path.exists():
        raise SettingsError("there is no such config file", str(path), "Correct --configfile")
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return values


def load_slides(config: Config) -> list[Slide]:
    """Return the slide table, checked against the settings that speak of its columns.

    Raises:
        CohortErrors: the table is malformed, its patients cannot be split as the settings say, a
            label differs from a class in case only, a slide has no mask where all need one, or a
            run shall learn columns that are not there or hold something else.
    """
    slides = read_slides(config.slides)
    split_patients(slides, config.split)
    classes = {name.casefold(): name for name in config.patches.classes}
    errors = [
        CohortError(
            f"label {slide.label!r} is class {classes[slide.label.casefold()]!r} in another case",
            f"{config.slides}:{slide.line}",
            "Write it as in `patches.classes`",
        )
        for slide in slides
        if slide.label not in config.patches.classes and slide.label.casefold() in classes
    ]
    if config.tissue.method is TissueMethod.MASK:
        errors += [
            CohortError(
                f"slide {slide.slide!r} has no mask, but `tissue.method` is mask",
                f"{config.slides}:{slide.line}",
                "Name a file in column `mask`, or choose another method",
            )
            for slide in slides
            if slide.mask is None
        ]
    errors += _unlearnable_cells(config, slides)
    if errors:
        raise CohortErrors(errors)
    return slides


def _unlearnable_cells(config: Config, slides: Sequence[Slide]) -> list[CohortError]:
    """Return what runs shall learn of the slide table and cannot."""
    errors: dict[str, CohortError] = {}
    for name in config.training.selected_runs:
        target = config.training.runs[name].target
        if target.kind is not TargetKind.CLASSES:
            try:
                slide_truth(slides, target, config.slides)
            except CohortErrors as found:
                # Two runs may learn one column.
                errors |= {str(error): error for error in found.errors}
    return list(errors.values())


def _contradictions(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield where sections contradict each other, and how."""
    runs, proven = config.training.selected_runs, config.parity.engines
    if config.benchmark.run is not None and config.benchmark.run not in runs:
        yield ("benchmark", "run"), f"{config.benchmark.run!r} is none of the runs {runs}"
    for engine in config.benchmark.engines:
        if engine not in proven:
            yield ("benchmark", "engines"), f"{engine} is not in parity.engines"
    for precision in config.benchmark.precisions:
        if precision not in config.parity.precisions:
            yield ("benchmark", "precisions"), f"{precision} is not in parity.precisions"
    if Precision.F32 not in config.parity.precisions:
        yield ("parity", "precisions"), "f32, which predict computes in, is not there"
    if config.predict.engine not in proven:
        yield ("predict", "engine"), f"{config.predict.engine} is not in parity.engines"
    if config.predict.device is not config.parity.device:
        yield (
            ("predict", "device"),
            f"predict runs on {config.predict.device}, parity proves on {config.parity.device}",
        )
    # Who runs no benchmark has not said where.
    timed, case, said = config.benchmark, BenchmarkCase.PATCHES, config.benchmark.model_fields_set
    if case in timed.cases and "device" in said and timed.device is not config.parity.device:
        yield (
            ("benchmark", "device"),
            f"{case} is timed on {timed.device}, parity proves on {config.parity.device}",
        )
    if config.predict.target not in config.patches.classes:
        classes = ", ".join(config.patches.classes)
        yield (
            ("predict", "target"),
            f"{config.predict.target!r} is not in patches.classes: {classes}",
        )
    if config.site.launcher is not Launcher.SRUN and config.site.container is not None:
        yield (
            ("site", "launcher"),
            f"{config.site.launcher} starts no ranks in site.container; srun does",
        )
    if config.site.launcher is Launcher.HOROVODRUN and config.training.backend is Backend.TORCH:
        yield (
            ("site", "launcher"),
            "horovodrun starts processes of backend horovod alone; training.backend is torch",
        )


def _unknown_networks(config: Config) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield which runs name a network that there is not, and the one that may be meant."""
    for name, run in config.training.runs.items():
        if not has_network(run.model):
            yield (
                ("training", "runs", name, "model"),
                f"timm has no network {run.model!r}",
                names_instead(run.model, network_names()),
            )


def _settings_error(details: ErrorDetails, lines: "_Lines") -> SettingsError:
    location = details["loc"]
    name = ".".join(str(part) for part in location) or "config"
    where = f"{lines.find(location)}: {name}"
    if details["type"] == "extra_forbidden":
        return SettingsError("there is no such setting", where, _did_you_mean(location))
    message = details["msg"].removeprefix("Value error, ")
    found = details["input"]
    shown = "" if isinstance(found, Mapping | BaseModel) else f" (found {found!r})"
    return SettingsError(
        f"{message[0].lower()}{message[1:]}{shown}",
        where,
        "Correct it; config/README.md lists every setting with type and range",
    )


def _did_you_mean(location: _Location) -> str:
    known = _names_beside(location)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    if close:
        return f"Did you mean {close[0]!r}? config/README.md lists all settings"
    return f"Known here: {', '.join(known)}"


def _names_beside(location: _Location) -> list[str]:
    """Return the names of the settings class that holds the last part of a location."""
    model: type[BaseModel] = Config
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        inner = _settings_class(field.annotation) if field else None
        # A part that is no field is a free name, such as that of a run.
        model = inner or model
    return list(model.model_fields)


def _settings_class(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_settings_class(argument) for argument in get_args(annotation))
    return next((inner for inner in found if inner), None)


class _Lines:
    """Finds the line in which a setting stands; later files override earlier ones."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._trees = [
            (file, yaml.compose(file.read_text(encoding="utf-8"))) for file in reversed(files)
        ]

    def repeated(self) -> Iterator[SettingsError]:
        """Yield names that stand twice in one place of a file: YAML takes the last in silence."""
        for file, tree in self._trees:
            for name, first, again in _repeated(tree):
                yield SettingsError(
                    f"{name!r} stands already in line {first}", f"{file}:{again}", "Join the two"
                )

    def find(self, location: _Location) -> str:
        """Return ``file:line`` of the deepest part of a location that a file has."""
        best, depth = "config", -1
        for file, tree in self._trees:
            marks = list(_marks(tree, location))
            if len(marks) > depth and tree is not None:
                line = (marks[-1] if marks else tree.start_mark.line) + 1
                best, depth = f"{file}:{line}", len(marks)
        return best


def _repeated(node: yaml.Node | None) -> Iterator[tuple[str, int, int]]:
    """Yield name, first line and later line of every repeated key below a node."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            first = lines.setdefault(str(key.value), line)
            if first != line:
                yield str(key.value), first, line
            yield from _repeated(value)


def _marks(node: yaml.Node | None, location: _Location) -> Iterator[int]:
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            return
        entry = next((pair for pair in node.value if pair[0].value == str(part)), None)
        if entry is None:
            return
        yield entry[0].start_mark.line
        node = entry[1]

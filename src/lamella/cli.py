"""The command ``lamella``: what is done by hand, outside the workflow.

A command imports what it needs when it runs, so that ``lamella --help`` is quick.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from lamella.drawing.settings import DrawingSettings
from lamella.errors import LamellaError, SettingsError, SlurmError, StoreError
from lamella.fleet.manifest import MANIFEST_NAME
from lamella.settings import Settings
from lamella.tracking.settings import TrackingSettings

logger = logging.getLogger("lamella")

_SettingsClass = TypeVar("_SettingsClass", bound=Settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 1 when it could not be done."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        options.run(options)
    except LamellaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamella",
        description="Whole-slide images on a cluster. The workflow itself is run by snakemake.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    _add_input_commands(commands)
    _add_result_commands(commands)
    _add_other_commands(commands)
    return parser


def _add_input_commands(commands: Any) -> None:
    draw = commands.add_parser("draw-cohort", help="draw slides, annotations and their table")
    draw.add_argument("folder", type=Path, help="where slides.tsv and the slides go")
    _add_options(draw, DrawingSettings)
    draw.set_defaults(run=_draw_cohort)

    importing = commands.add_parser(
        "import-patches", help="bring patch files of PROCESS, CLAM or TRIDENT into our layout"
    )
    importing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="HDF5 files")
    importing.add_argument("output", type=Path, help="a new results folder")
    importing.add_argument(
        "--mpp", type=float, required=True, help="microns per pixel of the patches"
    )
    importing.add_argument(
        "--slides", type=Path, help="slide table; needed for files that hold coordinates only"
    )
    importing.add_argument(
        "--classes", nargs="+", default=["normal", "tumor"], help="names of the labels 0, 1, …"
    )
    importing.add_argument(
        "--size-px", type=int, help="edge of a patch, where the file does not say it"
    )
    importing.add_argument(
        "--edge-l0", type=int, help="the same in level-0 pixels, where the file does not say it"
    )
    importing.set_defaults(run=_import_patches)

    plan = commands.add_parser(
        "plan", help="estimate patches, disk, core, node and GPU hours before anything is submitted"
    )
    _add_results_folder(plan)
    _add_configfiles(plan, "they are merged; the last one wins")
    plan.add_argument(
        "--tissue-share",
        type=float,
        default=0.3,
        help="share of a slide without a mask that is taken for tissue (default: 0.3)",
    )
    plan.set_defaults(run=_plan)

    relocate = commands.add_parser("relocate", help="find slides that moved, mend the slide table")
    relocate.add_argument("table", type=Path, help="the slide table, such as config/slides.tsv")
    relocate.add_argument("root", type=Path, help="the folder that the slides lie in now")
    relocate.set_defaults(run=_relocate)


def _add_result_commands(commands: Any) -> None:
    check = commands.add_parser("check", help="find patch files that are missing or damaged")
    _add_results_folder(check)
    check.add_argument(
        "--delete",
        action="store_true",
        help="delete the damaged ones, so that the next run mends them",
    )
    check.set_defaults(run=_check)

    status = commands.add_parser("status", help="show what lies in the results, stage by stage")
    _add_results_folder(status)
    status.set_defaults(run=_status)

    costs = commands.add_parser("costs", help="ask SLURM what the jobs cost, and why some failed")
    _add_results_folder(costs)
    costs.set_defaults(run=_costs)

    retry = commands.add_parser("retry", help="let the next run try quarantined slides again")
    _add_results_folder(retry)
    retry.set_defaults(run=_retry)

    clean = commands.add_parser(
        "clean", help="list the files that no manifest names, or delete them"
    )
    _add_results_folder(clean)
    clean.add_argument("--delete", action="store_true", help="delete them")
    clean.set_defaults(run=_clean)


def _add_other_commands(commands: Any) -> None:
    engines = commands.add_parser("engines", help="list the inference engines and their devices")
    engines.set_defaults(run=_engines)

    compare = commands.add_parser(
        "compare-runs", help="test whether one run is better than another by more than chance"
    )
    compare.add_argument("first", type=Path, help="folder of a run, as results/train/resnet50")
    compare.add_argument("second", type=Path, help="folder of another run on the same patches")
    compare.set_defaults(run=_compare_runs)

    sync = commands.add_parser("sync-tracking", help="send the records that MLflow lacks")
    _add_results_folder(sync)
    _add_configfiles(sync, "their section `tracking` says where to; the last one wins")
    sync.set_defaults(run=_sync_tracking)

    doctor = commands.add_parser("doctor", help="ask the cluster what Lamella needs to know of it")
    doctor.add_argument(
        "--slurm", action="store_true", required=True, help="run a short job in each partition"
    )
    doctor.add_argument(
        "--site",
        type=Path,
        default=Path("config/site.yaml"),
        help="its file; written where it is not there (default: config/site.yaml)",
    )
    doctor.add_argument(
        "--tracking",
        metavar="URI",
        help="tracking server that the nodes should reach (default: that of config/config.yaml)",
    )
    doctor.add_argument(
        "--wait", type=float, default=600.0, metavar="SECONDS", help="patience with the queue"
    )
    doctor.set_defaults(run=_doctor)

    document = commands.add_parser("document", help="make the tables of settings and schemas anew")
    document.add_argument("folder", type=Path, nargs="?", default=Path(), help="the repository")
    document.set_defaults(run=_document)


def _add_results_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("results"),
        help="the results folder (default: results)",
    )


def _usual_configfiles() -> list[Path]:
    site = Path("config/site.yaml")
    return [Path("config/config.yaml"), *([site] if site.exists() else [])]


def _add_configfiles(command: argparse.ArgumentParser, meaning: str) -> None:
    command.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=_usual_configfiles(),
        help=f"config files; {meaning} (default: those that the workflow takes by itself)",
    )


def _draw_cohort(options: argparse.Namespace) -> None:
    from lamella.drawing.cohort import draw_cohort

    draw_cohort(options.folder, _from_options(DrawingSettings, options))


def _check(options: argparse.Namespace) -> None:
    from lamella.patches.check import check_shards

    folder = options.folder / "patches"
    checked = list(check_shards(folder / MANIFEST_NAME))
    faults = [shard for shard in checked if shard.error is not None]
    for shard in faults:
        logger.error("%s", shard.error)
    logger.info("%d patch files read, %d of them at fault", len(checked), len(faults))
    damaged = [folder / shard.row.path for shard in faults if shard.deletable]
    if options.delete and damaged:
        for path in damaged:
            path.unlink(missing_ok=True)
            logger.info("deleted %s", path)
        _retry(options)
    if len(faults) > len(damaged):
        raise StoreError(
            f"{len(faults) - len(damaged)} patch files are not damaged, but not usable as they are",
            str(folder),
            "Where slides were moved, type `lamella relocate`; then run the workflow",
        )
    if damaged and not options.delete:
        raise StoreError(
            f"{len(damaged)} of {len(checked)} patch files are missing or damaged",
            str(folder),
            "Type `lamella check --delete`, then run the workflow; only these are made anew",
        )


def _status(options: argparse.Namespace) -> None:
    from lamella.fleet.status import report_lines, stage_statuses

    for line in report_lines(list(stage_statuses(options.folder)), options.folder):
        print(line)


def _costs(options: argparse.Namespace) -> None:
    from lamella.report.costs import tell_costs
    from lamella.slurm.rule_costs import cost_lines

    for line in cost_lines(tell_costs(options.folder)):
        print(line)


def _import_patches(options: argparse.Namespace) -> None:
    from lamella.patches.import_patches import import_patches
    from lamella.patches.imported import ImportOptions

    given = ImportOptions(
        mpp=options.mpp,
        slides=options.slides,
        classes=tuple(options.classes),
        size_px=options.size_px,
        edge_l0=options.edge_l0,
    )
    import_patches(options.files, options.output, given)


def _retry(options: argparse.Namespace) -> None:
    from lamella.fleet.retry import forget_unfinished

    forgotten = list(forget_unfinished(options.folder))
    for path, slides in forgotten:
        logger.info("%s: %d slides will be done again", path, slides)
    logger.info("run the workflow again" if forgotten else "nothing to try again")


def _clean(options: argparse.Namespace) -> None:
    from lamella.fleet.status import stage_statuses

    orphans = [path for stage in stage_statuses(options.folder) for path in stage.orphans]
    for path in orphans:
        print(path)
        if options.delete:
            path.unlink(missing_ok=True)
    if not orphans:
        logger.info("every file belongs to a slide")
    elif options.delete:
        logger.info("%d files deleted", len(orphans))
    else:
        logger.info("%d files belong to no slide; --delete deletes them", len(orphans))


def _plan(options: argparse.Namespace) -> None:
    from lamella.planning.plan import plan_study

    # Not which reader opens which slide.
    logging.getLogger("lamella.slides").setLevel(logging.WARNING)
    for line in plan_study(options.configfile, options.folder, tissue_share=options.tissue_share):
        print(line)


def _relocate(options: argparse.Namespace) -> None:
    from lamella.cohort.relocate import relocate_slides

    moved = relocate_slides(options.table, options.root)
    for old, new in moved:
        logger.info("%s -> %s", old, new)
    logger.info("%d files found in their new place; nothing is made anew", len(moved))


def _engines(options: argparse.Namespace) -> None:
    from lamella.engines.available import list_engines

    for status in list_engines():
        found = f"version {status.version}, {', '.join(status.precisions)}"
        print(f"{status.name:20} {status.device:5} {status.reason or found}")


def _compare_runs(options: argparse.Namespace) -> None:
    from lamella.training.compare import compare_runs, comparison_lines

    found = compare_runs(options.first, options.second)
    for line in comparison_lines(found, options.first.name, options.second.name):
        print(line)


def _sync_tracking(options: argparse.Namespace) -> None:
    from lamella.tracking.sync import sync_tracking

    section: dict[str, Any] = {}
    for path in options.configfile:
        section |= _section(path, "tracking")
    sync_tracking(options.folder, _checked(TrackingSettings, section, str(options.configfile[-1])))


def _doctor(options: argparse.Namespace) -> None:
    from lamella.fleet.settings import DEFAULT_FLEET
    from lamella.slurm.doctor import State, examine, write_site
    from lamella.slurm.settings import SiteSettings

    known = _section(options.site, "site") if options.site.exists() else None
    site = None if known is None else _checked(SiteSettings, known, str(options.site))
    folder = Path("results/logs/doctor")
    tracking = options.tracking or _tracking_server(Path("config/config.yaml"))
    found = examine(site, folder=folder, tracking=tracking, wait_s=options.wait)
    for check in found.checks:
        print(check)
    node = found.partition
    if node is not None:
        workers = DEFAULT_FLEET.workers_that_fit(cores=node.cores, memory_mib=node.memory_mib)
        if write_site(options.site, found.site, workers):
            print(f"wrote {options.site}: look through it")
    failed = sum(check.state is State.FAIL for check in found.checks)
    if failed:
        raise SlurmError(f"{failed} checks failed", "this cluster", "Mend them, then ask again")


def _tracking_server(path: Path) -> str | None:
    """Return the address of the server that a config file names; ``None``: a file, or none."""
    section = _section(path, "tracking") if path.exists() else {}
    uri = _checked(TrackingSettings, section or {}, str(path)).uri
    return uri if uri and uri.startswith(("http://", "https://")) else None


def _document(options: argparse.Namespace) -> None:
    from lamella.documentation import document

    changed = document(options.folder)
    for path in changed:
        logger.info("wrote %s", path)
    if not changed:
        logger.info("everything is up to date")


def _section(path: Path, name: str) -> dict[str, Any]:
    """Return one section of a config file; empty where it names none."""
    from lamella.config import read_config_file

    section: dict[str, Any] = read_config_file(path).get(name, {})
    return section


def _add_options(parser: argparse.ArgumentParser, settings: type[Settings]) -> None:
    """Add one option for each setting; an option that is not given keeps its default."""
    for name, field in settings.model_fields.items():
        meaning = f"{field.description} (default: {field.default})"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=meaning.replace("%", "%%"),
        )


def _from_options(settings: type[_SettingsClass], options: argparse.Namespace) -> _SettingsClass:
    given = {name: value for name, value in vars(options).items() if name in settings.model_fields}
    return _checked(settings, given, "command line")


def _checked(settings: type[_SettingsClass], values: dict[str, Any], where: str) -> _SettingsClass:
    """Return the settings that plain values, or their spellings, stand for."""
    try:
        return settings(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{name}: {first['msg'].lower()}", where, "Correct it; --help says what is allowed"
        ) from error

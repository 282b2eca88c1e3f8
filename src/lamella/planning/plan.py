"""Say what a study will need, before anything is submitted."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamella.config import load_config, load_slides, read_config_file
from lamella.errors import SettingsError
from lamella.planning.cohort_size import TISSUE_SHARE, cohort_size
from lamella.planning.estimate import estimate, estimate_lines


def plan_study(
    configfiles: Sequence[Path], root: Path, *, tissue_share: float = TISSUE_SHARE
) -> Iterator[str]:
    """Yield the lines of a plan.

    Args:
        configfiles: Config files; they are merged as Snakemake does it, the last one wins.
        root: The results folder; may be absent.
        tissue_share: Share of a slide without a mask that is taken for tissue, 0-1.

    Raises:
        SettingsError: a config file is missing or wrong, or the share is none.
        CohortError: the slide table is wrong, or no slide can be opened.
    """
    if not 0.0 < tissue_share <= 1.0:
        raise SettingsError(
            f"{tissue_share:g} is no share", "--tissue-share", "Give a number above 0, at most 1"
        )
    config = load_config(_merged(configfiles), configfiles)
    slides = load_slides(config)
    size = cohort_size(
        slides, config.patches, config.reading.reader, root=root, tissue_share=tissue_share
    )
    yield from estimate_lines(estimate(config, size, root), size)


def _merged(files: Sequence[Path]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for path in files:
        _merge(merged, read_config_file(path))
    return merged


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value

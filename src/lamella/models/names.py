"""The names of timm's networks, known without importing it."""

import difflib
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lamella.models.settings import KERAS_MODELS

# How timm's modules register a network, and the names that networks had in its older versions.
_NETWORK = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)
_FORMER = re.compile(
    r"^register_model_deprecations\(__name__, \{(.*?)^\}\)", re.MULTILINE | re.DOTALL
)
_FORMER_NAME = re.compile(r"""^\s*['"](\w+)['"]\s*:""", re.MULTILINE)


def has_network(name: str) -> bool:
    """Return whether timm has a network of a name; the tag of its weights is not looked at."""
    return name in KERAS_MODELS or name.partition(".")[0] in network_names()


def names_instead(name: str, known: Iterable[str]) -> str:
    """Return what to do about a name that no network has.

    Args:
        name: It.
        known: All that there are.
    """
    close = difflib.get_close_matches(name, known, n=1)
    return (
        f"Did you mean {close[0]!r}? " if close else ""
    ) + "`timm.list_models()` gives all names"


@cache
def network_names() -> frozenset[str]:
    """Return the names of timm's networks, those of its older versions included.

    They are read from its source: to import it takes seconds, because torch comes with it, and
    settings are checked by every dry run and in every job.
    """
    return frozenset(name for module in _modules() for name in _registered(module))


def _modules() -> list[Path]:
    found = find_spec("timm")
    folders = (found and found.submodule_search_locations) or []
    return [module for folder in folders for module in Path(folder, "models").glob("*.py")]


def _registered(module: Path) -> list[str]:
    source = module.read_text(encoding="utf-8")
    former = [name for each in _FORMER.findall(source) for name in _FORMER_NAME.findall(each)]
    return _NETWORK.findall(source) + former

"""The schema of the config file and the tables of its manual, made from the settings classes."""

import enum
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lamella.config import Config
from lamella.stores.atomic import write_text

SCHEMA = Path("workflow/schemas/config.schema.json")
MANUAL = Path("config/README.md")

_BEGIN = "<!-- settings: made by `make docs` -->"
_END = "<!-- end of settings -->"
_LIMITS: dict[type, tuple[str, str]] = {
    annotated_types.Ge: ("≥", "ge"),
    annotated_types.Gt: (">", "gt"),
    annotated_types.Le: ("≤", "le"),
    annotated_types.Lt: ("<", "lt"),
}


def document(folder: Path) -> list[Path]:
    """Write the schema and the tables of the manual anew.

    Args:
        folder: The repository.

    Returns:
        The files whose text changed; empty when all were fresh.
    """
    changed = [path for path, text in documents(folder).items() if _text(path) != text]
    for path in changed:
        write_text(path, documents(folder)[path])
    return changed


def documents(folder: Path) -> dict[Path, str]:
    """Return each generated file of the repository ``folder`` with the text it should have."""
    manual = folder / MANUAL
    return {
        folder / SCHEMA: config_schema(),
        manual: with_tables(_text(manual), settings_tables(Config)),
    }


def config_schema() -> str:
    """Return the JSON schema of the config file."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def with_tables(manual: str, tables: str) -> str:
    """Return the manual with the text between its two markers replaced.

    Raises:
        ValueError: a marker is missing or stands twice.
    """
    if manual.count(_BEGIN) != 1 or manual.count(_END) != 1:
        raise ValueError(f"{MANUAL} must hold one {_BEGIN!r} and one {_END!r}")
    before, _, rest = manual.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{tables}\n{_END}{after}"


def settings_tables(config: type[BaseModel]) -> str:
    """Return a Markdown table of the plain settings, and one for each section."""
    plain = [row for name, field in config.model_fields.items() for row in _plain(name, field)]
    parts = [_table(plain)] if plain else []
    for name, field in config.model_fields.items():
        section = _section_class(field.annotation)
        if section is not None:
            rows = list(_rows(section, f"{name}."))
            parts.append(f"### `{name}`\n\n{_first_line(section)}\n\n{_table(rows)}")
    return "\n\n".join(parts) + "\n"


def _plain(name: str, field: FieldInfo) -> Iterator[str]:
    if _section_class(field.annotation) is None:
        yield _row(name, field)


def _rows(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the table rows of a section, those of sections inside it too."""
    for name, field in section.model_fields.items():
        inner = _section_class(field.annotation)
        if inner is not None:
            yield from _rows(inner, f"{prefix}{name}.")
            continue
        yield _row(f"{prefix}{name}", field)
        named = _named_section_class(field.annotation)
        if named is not None:
            yield from _rows(named, f"{prefix}{name}.NAME.")


def _table(rows: list[str]) -> str:
    return "\n".join(["| setting | value | default | meaning |", "|---|---|---|---|", *rows])


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {_value_text(field)} | {_default_text(field)} | {meaning} |"


def _value_text(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(limit, attribute):g}"
        for limit in field.metadata
        for kind, (sign, attribute) in _LIMITS.items()
        if isinstance(limit, kind)
    ]
    return " ".join([_type_text(field.annotation), ", ".join(limits)]).strip()


def _type_text(annotation: Any) -> str:
    """Return a type in words, such as ``number`` or ``list of text``."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_text(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (tuple, list):
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return "named sections"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    words = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path"}
    return words.get(annotation, str(annotation))


def _default_text(field: FieldInfo) -> str:
    """Return the default as it would stand in the config file."""
    if _named_section_class(field.annotation) is not None:
        names = field.get_default(call_default_factory=True, validated_data={}) or {}
        return ", ".join(f"`{name}`" for name in names) or "none"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "needed"
    if default is None:
        return "absent"
    if isinstance(default, enum.Enum | Path):
        return f"`{default}`"
    if isinstance(default, tuple | list):
        return f"`[{', '.join(str(item) for item in default)}]`"
    return f"`{json.dumps(default, ensure_ascii=False)}`" if default != "" else "empty"


def _section_class(annotation: Any) -> type[BaseModel] | None:
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_section else None


def _named_section_class(annotation: Any) -> type[BaseModel] | None:
    """Return the class of the values of a ``dict[str, <section>]``."""
    if get_origin(annotation) is not dict:
        return None
    return _section_class(get_args(annotation)[1])


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""

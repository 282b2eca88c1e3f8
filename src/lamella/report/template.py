"""The page and its parts, as they lie beside this module."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template


def template(name: str) -> Template:
    """Return a template that escapes what it is given, and refuses names that it is not given."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(own_file(name))


def own_file(name: str) -> str:
    """Return the text of a file of this room."""
    return files("lamella.report").joinpath(name).read_text(encoding="utf-8")

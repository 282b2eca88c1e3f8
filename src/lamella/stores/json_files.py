"""JSON files, written in one step, and digests of JSON values."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lamella.stores.atomic import write_text


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def canonical(value: Any) -> str:
    """Return a JSON value as text, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, 64 hexadecimal digits, the same for equal values."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()

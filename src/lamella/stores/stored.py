"""What every finished file of a slide says of itself, whatever its format."""

from dataclasses import dataclass

MADE_ANEW = "Delete it, then run `lamella retry` and the workflow; only this slide is made anew"
"""Remedy of a damaged one."""


@dataclass(frozen=True)
class Stored:
    """What a finished file says of itself."""

    fingerprint: str
    n: int

"""Exported models run by several engines behind one interface, and the proof that they agree."""

REVISION = 6

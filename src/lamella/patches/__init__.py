"""Patches: which squares are cut from the tissue, how they are stored and found again."""

REVISION = 2

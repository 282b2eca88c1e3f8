"""Tissue: where a slide shows tissue, and where only glass."""

REVISION = 5

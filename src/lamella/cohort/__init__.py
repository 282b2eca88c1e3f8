"""Cohort: the table of slides, checked, and its splits."""

REVISION = 3

"""Slides: what a slide file is, at which resolution it is read, and its pixels."""

REVISION = 1

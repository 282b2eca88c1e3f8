"""Drawn slides: files whose every tumour, gland and nucleus is known by construction."""

REVISION = 1

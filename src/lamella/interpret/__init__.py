"""Interpretation: why the network says what it says."""

REVISION = 2

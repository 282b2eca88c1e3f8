"""Training: processes train one network together, resumably, and judge it on held-out patients."""

REVISION = 2
"""Raised when equal inputs would give different outputs."""

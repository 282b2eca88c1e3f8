"""Lamella: whole-slide images on a cluster, from tissue masks to explained networks."""

__version__ = "0.1.0"

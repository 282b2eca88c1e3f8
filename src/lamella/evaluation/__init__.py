"""Evaluation: how good a network is per patch, slide and patient, and how sure that is."""

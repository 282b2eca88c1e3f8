"""Annotations: outlines that a person drew on a slide."""

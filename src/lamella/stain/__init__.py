"""Stain: the colours of a slide made like those of a reference, fitted once per slide."""

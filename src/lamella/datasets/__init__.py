"""Datasets: which patches a rank sees in which order, how they are read and augmented."""

"""What a report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportInputs:
    """The tables of all layers; what they name lies beside them.

    Attributes:
        slides: Checked slide table.
        splits: Split of each slide.
        masks: Manifest of ``segment_tissue``.
        quality: What spoils the slides.
        patches: Manifest of ``extract_patches``.
        index: Table of all patches.
        summary: Figures of the runs over their seeds.
        metrics: ``metrics.json`` of every run and seed.
        parity: ``parity.tsv`` of every run.
        predictions: Manifest of ``predict_slides`` of every run.
        scores: ``scores.tsv`` of every run.
        explanations: ``explanations.tsv`` of every run.
        benchmark: Figures of the engines.
        scenarios: Their figures in MLPerf's scenarios.
        workloads: The engines in the workloads: table, picture of the stages, picture of the
            parity; empty where none were run.
        results: The results folder, for the jobs that are known when the page is made.
    """

    slides: Path
    splits: Path
    masks: Path
    quality: Path
    patches: Path
    index: Path
    summary: Path
    metrics: Sequence[Path]
    parity: Sequence[Path]
    predictions: Sequence[Path]
    scores: Sequence[Path]
    explanations: Sequence[Path]
    benchmark: Path
    scenarios: Path
    workloads: Sequence[Path]
    results: Path

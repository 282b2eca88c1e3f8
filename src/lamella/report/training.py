"""The trainings: curves of every seed, figures over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lamella.charts import PALETTE, Line, line_chart
from lamella.datasets.settings import TargetKind
from lamella.evaluation.aggregation import SCORE_AGGREGATION, Aggregation
from lamella.evaluation.levels import Level
from lamella.stores.json_files import read_json
from lamella.stores.tables import Row, read_table
from lamella.training.curves import loss_lines, score_lines
from lamella.training.result_files import HISTORY, PICTURES, Score, drawn_score, learned_kind

_OF_PROBABILITIES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "loss": "loss",
}
FIGURES = {
    TargetKind.CLASSES: _OF_PROBABILITIES,
    TargetKind.MULTI_LABEL: _OF_PROBABILITIES,
    TargetKind.REGRESSION: {
        "r2": "R²",
        "pearson": "Pearson correlation",
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "loss": "loss",
    },
}
"""Figures of the table, and what people call them."""

SHOWN_PICTURES = {
    TargetKind.CLASSES: ("roc", "calibration", "confusion"),
    TargetKind.MULTI_LABEL: ("roc", "calibration"),
    TargetKind.REGRESSION: ("scatter",),
}

_JUDGED_BY = {
    TargetKind.CLASSES: (SCORE_AGGREGATION, "mean of the highest 5 %"),
    TargetKind.MULTI_LABEL: (SCORE_AGGREGATION, "mean of the highest 5 %"),
    TargetKind.REGRESSION: (Aggregation.MEAN, "mean"),
}
"""What is made of the answers to the patches of a slide or patient, and what people call it."""


@dataclass(frozen=True)
class SeedEntry:
    """One seed of a run."""

    seed: int
    best_epoch: int
    colour: str
    figures: dict[str, str]
    pictures: list[Markup]


@dataclass(frozen=True)
class LevelEntry:
    """AUC or R² of one split and level.

    Attributes:
        split: ``validation`` or ``test``.
        level: What is judged as one: patches, slides or patients.
        n: How many, from how many patients.
        figure: Mean and standard deviation over the seeds.
        interval: 95 % interval, the mean over the seeds.
        remark: Why there is none; else empty.
    """

    split: str
    level: str
    n: str
    figure: str
    interval: str
    remark: str


@dataclass(frozen=True)
class RunEntry:
    """One run.

    Attributes:
        run: Its name.
        model: Name of the network.
        facts: How it was trained, in a line.
        loss: Curves of the loss.
        score: What it is judged by over the epochs: AUC or R².
        curve: Curves of that.
        aggregation: What is made of the answers to the patches of a slide or patient.
        figures: Figures of the table, and what people call them.
        seeds: Its seeds.
        means: Mean and standard deviation over the seeds, by split and figure.
        levels: AUC or R² of patches, slides and patients.
    """

    run: str
    model: str
    facts: str
    loss: Markup
    score: Score
    curve: Markup
    aggregation: str
    figures: dict[str, str]
    seeds: list[SeedEntry]
    means: dict[str, dict[str, str]]
    levels: list[LevelEntry]


def training_section(metrics: Sequence[Path], summary: Path) -> list[RunEntry]:
    """Return the runs in the order of the summary.

    Args:
        metrics: ``metrics.json`` of every run and seed.
        summary: Mean and standard deviation over the seeds.
    """
    trainings: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for path in metrics:
        content = read_json(path)
        trainings.setdefault(content["run"], []).append((path, content))
    return [_run(row, trainings[row["run"]]) for row in read_table(summary)]


def _run(row: Row, trainings: list[tuple[Path, dict[str, Any]]]) -> RunEntry:
    loss: list[Line] = []
    scores: list[Line] = []
    kind = learned_kind(trainings[0][1])
    score = drawn_score(kind)
    seeds = []
    for number, (path, content) in enumerate(trainings):
        colour = PALETTE[number % len(PALETTE)]
        history = read_table(path.with_name(HISTORY))
        best = content["best_epoch"]
        loss += loss_lines(history, best_epoch=best, colour=colour)
        scores += score_lines(history, score.name, best_epoch=best, colour=colour)
        seeds.append(
            SeedEntry(content["seed"], best, colour, _seed_figures(content), _pictures(path, kind))
        )
    return RunEntry(
        run=row["run"],
        model=row["model"],
        facts=_facts(trainings[0][1], row),
        loss=line_chart(loss, title="Loss", x_name="epoch"),
        score=score,
        curve=line_chart(scores, title=f"Validation {score.short}", x_name="epoch", ceiling=1.0),
        aggregation=_JUDGED_BY[kind][1],
        figures=FIGURES[kind],
        seeds=seeds,
        means={
            split: {key: _mean(row, f"{split}_{key}") for key in FIGURES[kind]}
            for split in ("validation", "test")
        },
        levels=[
            _level(row, trainings[0][1], split, level)
            for split in ("validation", "test")
            for level in ("patch", *(level.value for level in Level))
        ],
    )


def _pictures(metrics: Path, kind: TargetKind) -> list[Markup]:
    """Return the pictures of one seed that show its answers to the test split."""
    folder = metrics.with_name(PICTURES)
    return [
        Markup((folder / f"{name}.svg").read_text(encoding="utf-8"))  # noqa: S704 - our own file
        for name in SHOWN_PICTURES[kind]
    ]


def _level(row: Row, content: dict[str, Any], split: str, level: str) -> LevelEntry:
    """Return an entry; number and remark are the same for all seeds, which see the same patches."""
    kind = learned_kind(content)
    score = drawn_score(kind).name
    evaluation, figure, remark = content[split], f"{split}_{score}", ""
    n, patients = evaluation["n"], evaluation["bootstrap"]["patients"]
    if level != "patch":
        figure, remark = f"{split}_{level}_{score}", evaluation[level]["remark"]
        # Slides of which nothing is known may be all that a patient has.
        judged = evaluation[level][_JUDGED_BY[kind][0]]
        n, patients = evaluation[level]["n"], (judged or evaluation)["bootstrap"]["patients"]
    low, high = row[f"{figure}_low"], row[f"{figure}_high"]
    return LevelEntry(
        split=split,
        level=f"{level}s" if level != "patch" else "patches",
        n=f"{n:,} of {patients:,} patients",
        figure=_mean(row, figure),
        interval=f"{float(low):.3f} – {float(high):.3f}" if low else "–",
        remark=remark,
    )


def _seed_figures(content: dict[str, Any]) -> dict[str, str]:
    return {
        f"{split}_{key}": "–" if content[split][key] is None else f"{content[split][key]:.3f}"
        for split in ("validation", "test")
        for key in FIGURES[learned_kind(content)]
    }


def _mean(row: Row, figure: str) -> str:
    """Return ``mean ± standard deviation``; the mean alone for one seed, a dash without one."""
    mean, deviation = row[f"{figure}_mean"], row[f"{figure}_sd"]
    if not mean:
        return "–"
    return f"{float(mean):.3f} ± {float(deviation):.3f}" if deviation else f"{float(mean):.3f}"


def _facts(content: dict[str, Any], row: Row) -> str:
    settings = content["settings"]
    processes = content["world_size"]
    joined = settings["batch_size"] * settings["accumulate"] * processes
    together = f"{processes} processes ({content['backend']})" if processes > 1 else "one process"
    facts = [
        f"{'at most ' if settings['patience'] else ''}{settings['epochs']}"
        f" epoch{'' if settings['epochs'] == 1 else 's'}",
        f"batch of {joined} from {together}",
        f"{settings['optimiser']}, learning rate {settings['learning_rate']:g}",
        f"patches of {content['patch_px']} px at {content['mpp']:g} µm per pixel",
        f"{content['validation']['n']} validation and {content['test']['n']} test patches",
    ]
    if row["samples_per_s_mean"]:
        facts.append(f"{float(row['samples_per_s_mean']):.1f} images per second")
    return " · ".join(facts)

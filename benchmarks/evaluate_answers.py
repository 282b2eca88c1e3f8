"""Measure the evaluation of many patches, and its resampling against scikit-learn's.

``python benchmarks/evaluate_answers.py [--patches 1000000 --patients 500 --runs 3]``

Processor time: the whole evaluation of one split; the intervals of the patches alone; and one
resample's AUC and average precision by scikit-learn with sample weights, in turns with as many of
ours. Peak memory is that of the process up to here, its inputs included. Then, once, the whole
evaluation of three labels, and that of three numbers.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import sklearn.metrics as sk

from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Scale, Targets
from lamella.evaluation.answers import Answers
from lamella.evaluation.bootstrap import RESAMPLES, bootstrap
from lamella.evaluation.evaluate import evaluate
from lamella.evaluation.judge import evaluate_split


def draw(patches: int, patients: int) -> tuple[pd.DataFrame, Answers]:
    """Return patches of two slides a patient; a third of the patients have no tumour."""
    generator = np.random.default_rng(0)
    numbers = np.sort(generator.integers(0, patients, patches))
    labels = (generator.random(patches) < 0.2 * (numbers % 3 > 0)).astype(np.int64)
    logits = generator.normal(-1, 1, patches) + 1.5 * labels
    logits += generator.normal(0, 1, patients)[numbers]
    tumor = (1 / (1 + np.exp(-logits))).astype(np.float32)
    table = pd.DataFrame(
        {
            "slide": [f"s{number}_{row % 2}" for row, number in enumerate(numbers)],
            "patient": [f"p{number}" for number in numbers],
            "slide_label": "",
            "label": labels,
        }
    )
    return table, Answers(labels, np.stack([1 - tumor, tumor], axis=1), numbers)


def draw_columns(table: pd.DataFrame, kind: TargetKind) -> tuple[Targets, np.ndarray]:
    """Return three labels or numbers of each slide, and mediocre answers about them."""
    generator = np.random.default_rng(0)
    slides, names = pd.factorize(table["slide"])
    truth = generator.normal(0, 1, (len(names), 3))[slides].astype(np.float32)
    answers = truth + generator.normal(0, 1, truth.shape).astype(np.float32)
    if kind is TargetKind.REGRESSION:
        return Targets(kind, ("a", "b", "c"), truth, Scale.of(truth)), answers
    labels = (truth > 0).astype(np.float32)
    return Targets(kind, ("a", "b", "c"), labels), 1 / (1 + np.exp(-answers))


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def one_resample_of_scikit_learn(answers: Answers, patients: int) -> None:
    generator = np.random.default_rng(0)
    counts = generator.multinomial(patients, np.full(patients, 1 / patients))
    weights, score = counts[answers.patients], answers.probabilities[:, 1]
    sk.roc_auc_score(answers.labels, score, sample_weight=weights)
    sk.average_precision_score(answers.labels, score, sample_weight=weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=1_000_000)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    table, answers = draw(options.patches, options.patients)
    ours, theirs, whole = [], [], []
    for _ in range(options.runs):
        ours.append(cpu_s(lambda: bootstrap(answers)))
        theirs.append(cpu_s(lambda: one_resample_of_scikit_learn(answers, options.patients)))
        whole.append(cpu_s(lambda: evaluate(table, answers.probabilities, ("normal", "tumor"))))
    ratio = statistics.median(
        other * RESAMPLES / mine for mine, other in zip(ours, theirs, strict=True)
    )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    columns = {
        kind: cpu_s(partial(evaluate_split, table, *draw_columns(table, kind)))
        for kind in (TargetKind.MULTI_LABEL, TargetKind.REGRESSION)
    }
    print(f"{options.patches:,} patches of {options.patients} patients, {options.runs} runs")
    print(f"intervals of nine metrics, {RESAMPLES} resamples  {statistics.median(ours):8.2f} s")
    print(f"scikit-learn, two metrics, one resample      {statistics.median(theirs):8.2f} s")
    print(f"{RESAMPLES} of those, over ours                    {ratio:8.1f}")
    print(f"whole evaluation of a split                  {statistics.median(whole):8.2f} s")
    print(f"whole evaluation of three labels             {columns[TargetKind.MULTI_LABEL]:8.2f} s")
    print(f"whole evaluation of three numbers            {columns[TargetKind.REGRESSION]:8.2f} s")
    print(f"peak memory                                  {peak_mib:8.0f} MiB")


if __name__ == "__main__":
    main()

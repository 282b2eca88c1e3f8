"""Compare two runs of the benchmark: does a second one say the same?

    python benchmarks/compare_runs.py first/results/benchmark second/results/benchmark

Reads ``workloads.tsv`` and ``summary.tsv`` of both, as far as they are there. Prints, for each case
and batch size, every engine's median in the second run over that in the first, and whether both
rank the engines alike; at the end the largest deviation. Engines whose medians are within 5 % of
each other in one of the runs may change places. Runs of other numbers of items are not compared.
Engines that are not valid in both runs are named, with what they are in each, and left out.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from lamella.engines.verdict import Verdict
from lamella.stores.tables import Row, read_table

MEDIANS = ("total_ms_median", "latency_ms_median")
NEAR = 1.05

Group = dict[str, Row]
"""Rows of the engines of one case, batch size and mode."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="a folder results/benchmark")
    parser.add_argument("second", type=Path, help="another one")
    arguments = parser.parse_args()
    runs = groups(arguments.first), groups(arguments.second)
    deviations = []
    for name in {**runs[0], **runs[1]}:
        first, second = (run.get(name, {}) for run in runs)
        both = {}
        for engine in {**first, **second}:
            verdicts = [
                rows[engine]["verdict"] if engine in rows else "absent" for rows in (first, second)
            ]
            if verdicts == [Verdict.VALID] * 2:
                both[engine] = (median(first[engine]), median(second[engine]))
            else:
                print(f"{' '.join(name)}: {engine} is left out, {' and '.join(verdicts)}")
        if both:
            ratios = {engine: after / before for engine, (before, after) in both.items()}
            deviations += [max(ratio, 1 / ratio) for ratio in ratios.values()]
            said = ", ".join(f"{engine} {ratio:.3f}" for engine, ratio in ratios.items())
            ranked = "ranked alike" if alike(both) else "RANKED OTHERWISE"
            print(f"{' '.join(name)}: {ranked}; {said}")
    if not deviations:
        raise SystemExit(
            f"{arguments.first}, {arguments.second}: no engine is valid in the same case in both."
            " Name two folders results/benchmark."
        )
    print(f"largest deviation of a median: {100 * (max(deviations) - 1):.1f} %")


def groups(folder: Path) -> dict[tuple[str, ...], Group]:
    found: dict[tuple[str, ...], Group] = defaultdict(dict)
    for table in (folder / "workloads.tsv", folder / "summary.tsv"):
        for row in read_table(table) if table.exists() else []:
            # Else the engine was not there at all.
            if row["batch_size"]:
                found[group(row)][f"{row['engine']} {row['precision']}"] = row
    return found


def group(row: Row) -> tuple[str, ...]:
    parts = (row["case"], f"batch {row['batch_size']}", row.get("mode"), row.get("run_items"))
    return tuple(part for part in parts if part)


def median(row: Row) -> float:
    return next(float(row[column]) for column in MEDIANS if column in row)


def alike(both: dict[str, tuple[float, float]]) -> bool:
    """Return whether every two engines that are apart are in the same order in both runs."""
    return not any(
        one[0] * NEAR < other[0] and other[1] * NEAR < one[1]
        for one in both.values()
        for other in both.values()
    )


if __name__ == "__main__":
    main()

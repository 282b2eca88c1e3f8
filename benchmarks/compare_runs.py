"""Compare two runs of the benchmark: does a second one say the same?

    python benchmarks/compare_runs.py first/results/benchmark second/results/benchmark

Reads ``workloads.tsv`` and ``summary.tsv`` of both, as far as they are there. Prints, for each case
and batch size, every engine's median in the second run over that in the first, and whether both
rank the engines alike; at the end the largest deviation. Engines whose medians are within 5 % of
each other in both runs may change places. Runs of other numbers of items are not compared. Engines
that are invalid in one of the runs, or have failed at a batch size, are named and left out.
"""

import argparse
from collections import defaultdict
from pathlib import Path

from lamella.engines.verdict import Verdict
from lamella.stores.tables import Row, read_table

MEDIANS = {"workloads.tsv": "total_ms_median", "summary.tsv": "latency_ms_median"}
NEAR = 1.05

Group = dict[str, float]
"""Medians of the engines of one case, batch size and mode."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="a folder results/benchmark")
    parser.add_argument("second", type=Path, help="another one")
    arguments = parser.parse_args()
    first, second = groups(arguments.first), groups(arguments.second)
    shared = {
        name: [each for each in first[name] if each in second.get(name, {})] for name in first
    }
    common = {name: engines for name, engines in shared.items() if engines}
    if not common:
        raise SystemExit(
            f"{arguments.first}, {arguments.second}: no engine is valid in the same case in both."
            " Name two folders results/benchmark."
        )
    worst = 1.0
    for name, engines in common.items():
        both = {engine: (first[name][engine], second[name][engine]) for engine in engines}
        ratios = {engine: after / before for engine, (before, after) in both.items()}
        worst = max([worst, *(max(ratio, 1 / ratio) for ratio in ratios.values())])
        said = ", ".join(f"{engine} {ratio:.3f}" for engine, ratio in ratios.items())
        print(f"{' '.join(name)}: {'ranked alike' if alike(both) else 'RANKED OTHERWISE'}; {said}")
    print(f"largest deviation of a median: {100 * (worst - 1):.1f} %")


def groups(folder: Path) -> dict[tuple[str, ...], Group]:
    found: dict[tuple[str, ...], Group] = defaultdict(dict)
    for table, median in MEDIANS.items():
        rows = read_table(folder / table) if (folder / table).exists() else []
        for row in rows:
            engine = f"{row['engine']} {row['precision']}"
            if row["verdict"] == Verdict.VALID:
                found[group(row)][engine] = float(row[median])
            elif row["batch_size"]:
                print(f"{folder}: {' '.join(group(row))}: {engine} is {row['verdict']}, left out")
    return found


def group(row: Row) -> tuple[str, ...]:
    parts = (row["case"], f"batch {row['batch_size']}", row.get("mode"), row.get("run_items"))
    return tuple(part for part in parts if part)


def alike(both: dict[str, tuple[float, float]]) -> bool:
    """Return whether every two engines that are apart are in the same order in both runs."""
    return not any(
        one[0] * NEAR < other[0] and other[1] * NEAR < one[1]
        for one in both.values()
        for other in both.values()
    )


if __name__ == "__main__":
    main()

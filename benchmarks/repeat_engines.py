"""Measure how steady this machine is, and how well an engine repeats itself on it.

    python benchmarks/repeat_engines.py demo/results/export/demo --rounds 6 --seconds 3

Every engine answers for some seconds in a process of its own, again and again, the engines in
turns. Prints the medians of the processes, and how far they are apart; beside it how far the tenths
of one process are apart: where that is as much, the machine changes and not the process. Then work
that is always the same: products of matrices that stay in the caches, by one thread and by all at
once, and copies of 32 MiB. Where these vary, no benchmark on this machine repeats itself.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from lamella.engines.load import load_engine
from lamella.engines.settings import USUAL_ENGINES, EngineName

WARMUP = 5
TENTHS = 10
EDGE = 384
COPIED = 8 * 2**20
FIXED_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="such as demo/results/export/demo")
    parser.add_argument("--engines", nargs="+", type=EngineName, default=USUAL_ENGINES)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=6, help="processes of each engine")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each process")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[tuple[EngineName, int], list[list[float]]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for name in arguments.engines:
            for size in arguments.batch_sizes:
                given = (name, arguments.export, size, arguments.seconds, arguments.threads)
                with own_process() as process:
                    found[name, size].append(process.submit(latencies, *given).result())
    for (name, size), processes in found.items():
        medians = [statistics.median(each) for each in processes]
        within = [apart(tenths(each)) for each in processes]
        print(
            f"{name}, batch {size}: medians {', '.join(f'{each:.2f}' for each in medians)} ms,"
            f" {apart(medians):.2f} x apart;"
            f" tenths of one process {statistics.median(within):.2f} x, at most {max(within):.2f} x"
        )
    with own_process() as process:
        fixed = process.submit(fixed_work).result()
    for work, times in fixed.items():
        print(
            f"{work}: {statistics.median(times):.2f} ms, 5 to 95 % of them"
            f" {np.percentile(times, 5):.2f} to {np.percentile(times, 95):.2f};"
            f" medians of tenths {apart(tenths(times)):.2f} x apart"
        )


def own_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def latencies(
    name: EngineName, export: Path, batch_size: int, seconds: float, threads: int
) -> list[float]:
    engine = load_engine(name, export, threads=threads, batch_sizes=[batch_size])
    shape = (batch_size, *engine.description.inputs[0].shape[1:])
    draws = np.random.default_rng(0)
    patches = [draws.integers(0, 256, shape, dtype=np.uint8) for _ in range(16)]
    for number in range(WARMUP):
        engine.infer(patches[number])
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < TENTHS:
        batch = patches[len(found) % len(patches)]
        found.append(milliseconds(partial(engine.infer, batch)))
    return found


def fixed_work() -> dict[str, list[float]]:
    cpus = len(os.sched_getaffinity(0))
    matrices = [np.random.default_rng(0).random((EDGE, EDGE), dtype=np.float32)] * cpus
    given, copied = np.ones(COPIED, np.float32), np.empty(COPIED, np.float32)
    with ThreadPoolExecutor(cpus) as threads:
        work: dict[str, Callable[[], object]] = {
            "products, one thread": partial(multiply, matrices[0]),
            f"products, {cpus} threads at once": lambda: list(threads.map(multiply, matrices)),
            "copies": partial(np.copyto, copied, given),
        }
        found: dict[str, list[float]] = {name: [] for name in work}
        end = time.perf_counter() + FIXED_SECONDS
        while time.perf_counter() < end:
            for name, do in work.items():
                found[name].append(milliseconds(do))
    return found


def multiply(matrix: np.ndarray) -> None:
    for _ in range(10):
        np.matmul(matrix, matrix)


def milliseconds(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return (time.perf_counter() - begun) * 1e3


def tenths(times: list[float]) -> list[float]:
    """Return the median of each tenth of the times."""
    return [float(np.median(each)) for each in np.array_split(times, TENTHS)]


def apart(figures: list[float]) -> float:
    return max(figures) / min(figures)


if __name__ == "__main__":
    # Before numpy is loaded by the processes that are started: one thread a product.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    main()

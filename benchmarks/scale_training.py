"""Compare how fast one process and two ranks learn, by backend.

    python benchmarks/scale_training.py --model resnet50 --size 64 --batch-size 16 --rounds 5

A step is all that a training does with a batch: forward, backward, exchange of gradients, step of
the optimiser; the batch is drawn once. Each rank computes with one thread. In turns, several times:
one process; two processes that know nothing of each other; two ranks under each backend. Efficiency
is the speed of both ranks together against twice that of one process. The exchange is what a step
of two ranks takes longer than one of two strangers, who share the memory but exchange nothing.
Time on the clock, since ranks wait for each other: two cores must be free.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lamella.datasets.batches import Batch
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.patches.index import PatchIndex
from lamella.training.finite import check_finite
from lamella.training.learner import build_learner
from lamella.training.lifeline import end_with_launcher
from lamella.training.settings import Backend, Framework, RunSettings, TrainingSettings

WARM_UP = 2


def seconds_per_step(backend: Backend, run: RunSettings, size: int, steps: int) -> float:
    """Return the median over the steps of one rank."""
    index = PatchIndex(pd.DataFrame(), ("normal", "tumor"), size, mpp=0.5, digest="", folder=Path())
    processes = 1 if backend is Backend.NONE else 2
    training = TrainingSettings(backend=backend, processes=processes, runs={"run": run})
    targets = Targets(TargetKind.CLASSES, index.classes, np.array([0, 1]))
    learner = build_learner(index, targets, run, seed=0, training=training)
    group, count = learner.group, run.batch_size
    generator = np.random.default_rng(group.rank)
    images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    batch = Batch(np.arange(count), images, np.arange(count) % 2, count * group.size)
    learner.start_learning(seed=0)
    seconds = []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        check_finite(learner.backward(batch), group, "benchmark")
        learner.step(run.learning_rate)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


def strangers(count: int, words: list[str]) -> float:
    """Return the seconds per step of processes that run beside each other."""
    command = [sys.executable, __file__, *words, "--rank", Backend.NONE]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return statistics.fmean(json.loads(each.communicate()[0].splitlines()[-1]) for each in started)


def ranks(backend: Backend, words: list[str]) -> float:
    """Return the seconds per step of two ranks."""
    code = (
        "import logging, sys; logging.basicConfig(level=logging.INFO, format='%(message)s');"
        "from lamella.training.launch import launch_training;"
        "from lamella.training.settings import Backend;"
        f"launch_training(sys.argv[1:], 2, backend=Backend({str(backend)!r}))"
    )
    command = [sys.executable, __file__, *words, "--rank", backend]
    said = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    return statistics.fmean(
        float(found) for found in re.findall(r"rank \d: ([0-9.]+)$", said, re.M)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--framework", type=Framework, default=Framework.TORCH)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rank", type=Backend, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        if options.rank is not Backend.NONE:
            end_with_launcher()
        run = RunSettings(
            framework=options.framework, model=options.model, batch_size=options.batch_size
        )
        print(seconds_per_step(options.rank, run, options.size, options.steps))
        return
    words = [
        *("--model", options.model, "--size", str(options.size), "--steps", str(options.steps)),
        *("--batch-size", str(options.batch_size), "--framework", options.framework),
    ]
    ways = {
        "one process": lambda: strangers(1, words),
        "two strangers": lambda: strangers(2, words),
        "two ranks, horovod": lambda: ranks(Backend.HOROVOD, words),
    }
    if options.framework is Framework.TORCH:
        ways["two ranks, torch"] = lambda: ranks(Backend.TORCH, words)
    rounds = [{name: way() for name, way in ways.items()} for _ in range(options.rounds)]
    what = f"{options.framework}, {options.model}, {options.size} px"
    print(f"{what}, {options.batch_size} a rank, one thread a rank")
    for name in ways:
        count = 1 if name == "one process" else 2
        step = statistics.median(each[name] for each in rounds)
        efficiency = statistics.median(each["one process"] / each[name] for each in rounds)
        exchange = statistics.median(1 - each["two strangers"] / each[name] for each in rounds)
        line = f"{name:20} {step:7.3f} s a step  {count * options.batch_size / step:7.1f} images/s"
        print(line + (f"  efficiency {efficiency:.2f}" if count == 2 else ""), end="")
        print(f"  exchange {exchange:.2f}" if "ranks" in name else "")


if __name__ == "__main__":
    main()

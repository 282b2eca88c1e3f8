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

import numpy as np

from lamella.datasets.batches import Batch
from lamella.training.lifeline import end_with_launcher
from lamella.training.settings import Backend, RunSettings

WARM_UP = 2


def seconds_per_step(backend: Backend, run: RunSettings, size: int, steps: int) -> float:
    """Return the median over the steps of one rank."""
    import torch
    from lamella.training.arithmetic import prepare_arithmetic
    from lamella.training.optimiser import build_optimiser
    from lamella.training.step import backward, check_finite

    from lamella.models.networks import build_network
    from lamella.models.preprocess import Preprocessing
    from lamella.settings import Device
    from lamella.training.group import join_group

    group = join_group(backend)
    arithmetic = prepare_arithmetic(run, Device.CPU, rank=group.rank)
    torch.manual_seed(0)
    network = build_network(run.model, 2).train()
    group.share_weights(network)
    learner = group.replica(network, parts=1)
    optimiser = group.averaging(build_optimiser(network, run), network, parts=1)
    generator = np.random.default_rng(group.rank)
    count = run.batch_size
    images = generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    batch = Batch(np.arange(count), images, np.arange(count) % 2, count * group.size)
    preprocessing = Preprocessing()
    seconds = []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        optimiser.zero_grad()
        loss = backward(learner, preprocessing, batch, arithmetic, ranks=group.size)
        check_finite(loss, group, "benchmark")
        group.average_gradients(optimiser)
        with group.stepping(optimiser):
            optimiser.step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


def strangers(count: int, words: list[str]) -> float:
    """Return the seconds per step of processes that run beside each other."""
    command = [sys.executable, __file__, *words, "--rank", Backend.NONE]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return statistics.fmean(json.loads(each.communicate()[0]) for each in started)


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
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rank", type=Backend, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        if options.rank is not Backend.NONE:
            end_with_launcher()
        run = RunSettings(model=options.model, batch_size=options.batch_size)
        print(seconds_per_step(options.rank, run, options.size, options.steps))
        return
    words = [
        *("--model", options.model, "--size", str(options.size), "--steps", str(options.steps)),
        *("--batch-size", str(options.batch_size)),
    ]
    ways = {
        "one process": lambda: strangers(1, words),
        "two strangers": lambda: strangers(2, words),
        "two ranks, horovod": lambda: ranks(Backend.HOROVOD, words),
        "two ranks, torch": lambda: ranks(Backend.TORCH, words),
    }
    rounds = [{name: way() for name, way in ways.items()} for _ in range(options.rounds)]
    print(f"{options.model}, {options.size} px, {options.batch_size} a rank, one thread a rank")
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

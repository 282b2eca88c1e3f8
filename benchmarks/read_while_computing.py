"""Measure what it brings to read patches of a slide while an engine computes.

    python benchmarks/read_while_computing.py --slide slide.svs --engine openvino
    python benchmarks/read_while_computing.py --width 32000 --height 24000 --networks tiny

Classifies a slide by patches with a network of next to no work, so that reading takes all the
time, with one of many small operations, and with Inception v3: by one reader, one thing after
another, and with readers that work ahead, in turns. Prints medians, the ratio of both, and the time
against what cannot be avoided: the slowest stage, or the time of all CPUs over their number.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lamella.benchmark.settings import BenchmarkCase
from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.engines.load import FORMATS, load_foreign_engine
from lamella.engines.settings import EngineName
from lamella.export.description import MODEL_FILES
from lamella.export.formats import write_formats
from lamella.export.program import trace_program
from lamella.workloads.cell import RunTimes
from lamella.workloads.measure import timed
from lamella.workloads.networks import INPUT, OUTPUT, workload_network
from lamella.workloads.slide import WholeSlide
from lamella.workloads.table import overlap_cost

NETWORKS = ["tiny", "stepwise", "inception_v3"]
_STEPS = 500


class Tiny(nn.Module):
    """Four classes by the mean colour of a patch."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(3, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities."""
        # Of every 32nd pixel: else the mean alone takes as long as the reading.
        colour = images[:, ::32, ::32].to(torch.float32).mean(dim=(1, 2))
        return torch.softmax(self.classify(colour / 255), dim=1)


class Stepwise(Tiny):
    """The same after 1,000 operations that each do next to nothing.

    Python starts them one by one where the engine is torch, as it starts a GPU's kernels.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities."""
        answers = super().forward(images)
        for _ in range(_STEPS):
            answers = (answers + 0.1) / 1.4
        return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="a slide; else one is drawn")
    parser.add_argument("--width", type=int, default=16_000, help="pixels of the drawn one")
    parser.add_argument("--height", type=int, default=12_000, help="pixels of the drawn one")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--engine", type=EngineName, default=EngineName.OPENVINO)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patch", type=int, default=512)
    arguments = parser.parse_args()
    cpus = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = arguments.slide or folder / "slide.svs"
        if arguments.slide is None:
            draw_slide(path, SlideSpec(arguments.width * 0.25, arguments.height * 0.25))
        slide = WholeSlide(path, arguments.patch, readers=arguments.readers)
        print(f"{slide.items} patches of {arguments.patch} px, {arguments.engine}")
        examples = slide.examples()
        made = workload_network(BenchmarkCase.WSI, examples, seed=0)
        two = torch.from_numpy(np.concatenate([examples[:1]] * 2))
        small = {"tiny": Tiny, "stepwise": Stepwise}
        for name in arguments.networks:
            network = small[name]() if name in small else made.network
            stored = FORMATS[arguments.engine]
            failures = write_formats(
                folder / name,
                trace_program(network, (two,)),
                [stored],
                opset=18,
                inputs=[INPUT],
                outputs=[OUTPUT],
            )
            if failures:
                raise SystemExit(f"{name}: {failures[stored]}")
            engine = load_foreign_engine(
                arguments.engine,
                folder / name / stored / MODEL_FILES[stored],
                interface=made.interface,
                threads=arguments.threads,
            )
            runs: dict[str, list[RunTimes]] = {"one by one": [], "ahead": []}
            with slide.overlapped(arguments.batch) as overlapped:
                for number in range(arguments.repeats + 1):
                    for mode, run in (("one by one", slide.run), ("ahead", overlapped)):
                        times, _ = timed(run, engine, arguments.batch)
                        if number:
                            runs[mode].append(times)
            alone, ahead = (statistics.median(r.total_ms for r in each) for each in runs.values())
            costs = [
                overlap_cost(run, runs["one by one"], readers=arguments.readers, cpus=cpus)
                for run in runs["ahead"]
            ]
            print(
                f"{name}: one by one {alone:.0f} ms, ahead {ahead:.0f} ms, {alone / ahead:.2f} x;"
                f" {statistics.median(costs):.2f} of what cannot be avoided"
            )


if __name__ == "__main__":
    main()

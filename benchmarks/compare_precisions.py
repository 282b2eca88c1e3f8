"""Compare what rounding does to the answers of networks.

    python benchmarks/compare_precisions.py resnet50 vit_tiny_patch16_224 --device cpu

Takes networks of timm with random weights, settled on patches of a drawn slide: the statistics of
batch normalisation are those of the patches, and logits have a standard deviation of 1. Prints the
largest difference of a probability from torch's network on the CPU in f32, for each engine and
precision.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from lamella.drawing.plan import SlideSpec
from lamella.drawing.slide import draw_slide
from lamella.engines.load import FORMATS, load_foreign_engine
from lamella.engines.settings import EngineName, Precision
from lamella.errors import EngineUnavailableError
from lamella.export.description import MODEL_FILES, ModelInterface, TensorDescription
from lamella.export.formats import write_formats
from lamella.export.program import trace_program
from lamella.models.networks import InferenceNetwork, build_network
from lamella.models.preprocess import Preprocessing
from lamella.models.settle import settle
from lamella.settings import Device
from lamella.workloads.slide import WholeSlide

CLASSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", help="names of timm")
    parser.add_argument("--engines", nargs="+", type=EngineName, default=["torch", "openvino"])
    parser.add_argument("--device", type=Device, default=Device.CPU)
    parser.add_argument("--patch", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "slide.svs"
        draw_slide(path, SlideSpec(1500.0, 1200.0, seed=arguments.seed))
        patches = WholeSlide(path, arguments.patch, readers=1).examples()
        for name in arguments.networks:
            compare(Path(scratch) / name, name, patches, arguments)


def compare(folder: Path, name: str, patches: np.ndarray, arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    network = InferenceNetwork(build_network(name, CLASSES), Preprocessing())
    settle(network.network, network.preprocessing(torch.from_numpy(patches)))
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(patches)).numpy()
    program = trace_program(network, (torch.from_numpy(patches[:2]),))
    formats = [FORMATS[engine] for engine in map(EngineName, arguments.engines)]
    failures = write_formats(
        folder, program, formats, opset=18, inputs=["patches"], outputs=["answers"]
    )
    interface = ModelInterface(
        inputs=(tensor("patches", "uint8", patches.shape[1:]),),
        outputs=(tensor("answers", "float32", (CLASSES,)),),
    )
    for engine in map(EngineName, arguments.engines):
        if FORMATS[engine] in failures:
            print(f"{name}, {engine}: {failures[FORMATS[engine]]}")
            continue
        for precision in Precision:
            try:
                loaded = load_foreign_engine(
                    engine,
                    folder / FORMATS[engine] / MODEL_FILES[FORMATS[engine]],
                    interface=interface,
                    device=arguments.device,
                    precision=precision,
                    threads=2,
                )
            except EngineUnavailableError as error:
                print(f"{name}, {engine} in {precision}: {error.what}")
                continue
            difference = np.abs(loaded.infer(patches) - expected).max()
            print(f"{name}, {engine} in {precision}: {difference:.2g}", flush=True)


def tensor(name: str, dtype: str, lengths: tuple[int, ...]) -> TensorDescription:
    return TensorDescription(name=name, dtype=dtype, shape=(-1, *lengths), layout="")


if __name__ == "__main__":
    main()

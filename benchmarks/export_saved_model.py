"""How long a network takes to become TensorFlow's SavedModel: by Lamella, and by onnx2tf alone.

python benchmarks/export_saved_model.py --network resnet50 --size-px 224
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lamella.export.onnx_file import write_onnx
from lamella.export.program import example_patches, trace_program
from lamella.export.saved_model import write_saved_model
from lamella.models.networks import InferenceNetwork, build_network
from lamella.models.preprocess import Preprocessing

_OUTPUTS = 4
_MAKE_ENVIRONMENT = Path(__file__).parents[1] / "scripts" / "onnx2tf.sh"


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Write the ONNX file, translate it twice, and print both times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet50", help="a network of timm")
    parser.add_argument("--size-px", type=int, default=224, help="edge length of a patch")
    options = parser.parse_args()
    made = subprocess.run([_MAKE_ENVIRONMENT], stdout=subprocess.PIPE, text=True, check=True)
    python = Path(made.stdout.strip())
    network = InferenceNetwork(build_network(options.network, _OUTPUTS), Preprocessing()).eval()
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder) / "model.onnx"
        program = trace_program(network, (example_patches(options.size_px),))
        write_onnx(onnx_file, program, opset=18, inputs=["patches"], outputs=["answers"])
        target = Path(folder) / "ours"
        ours = seconds(lambda: write_saved_model(target, onnx_file, python=python))
        alone = [python, "-m", "onnx2tf", "-i", onnx_file, "-o", Path(folder) / "alone", "-n"]
        alone += ["-kat", "patches", "-osd", "-nuo"]
        theirs = seconds(lambda: subprocess.run(alone, check=True, capture_output=True))
    print(f"Lamella {ours:.1f} s, onnx2tf alone {theirs:.1f} s: {theirs / ours:.1f} times as long")


if __name__ == "__main__":
    main()

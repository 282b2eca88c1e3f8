"""Processes on different processors share the folder where torch keeps compiled code."""

import os
import subprocess
import sys

import pytest
import torch

from lamella.export.program import trace_program, write_program

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from lamella.engines.load import load_foreign_engine
from lamella.engines.settings import EngineName

numbers = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)
compiled, plain = (
    load_foreign_engine(name, Path(sys.argv[1]), threads=1).run((numbers,))[0]
    for name in (EngineName.TORCH_COMPILED, EngineName.TORCH)
)
print(np.abs(compiled - plain).max())
"""


def difference(model, **variables):
    """Return how far compiled code is from the answers of plain torch, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason="without AVX-512 there is no second kind of code for this CPU",
)
def test_code_for_wider_registers_is_not_taken_where_they_are_narrower(tmp_path):
    torch.manual_seed(0)
    # Means and maxima over rows: a row of another width is another row.
    layers = (torch.nn.Linear(64, 40), torch.nn.LayerNorm(40), torch.nn.Softmax(1))
    network = torch.nn.Sequential(*layers).eval()
    write_program(tmp_path / "model.pt2", trace_program(network, (torch.zeros(2, 64),)))
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kept")}
    for capability in ("avx512", "avx2"):
        found = difference(tmp_path / "model.pt2", ATEN_CPU_CAPABILITY=capability, **kept)
        assert found < 1e-6

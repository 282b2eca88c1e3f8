"""torch runs TorchScript; the one module that runs it."""

from pathlib import Path
from typing import Any

import torch

from lamella.engines.engine import CheckedEngine
from lamella.engines.settings import EngineName, Precision
from lamella.engines.torch_engine import TorchEngine
from lamella.export.torchscript import torch_jit_unheard
from lamella.settings import Device

_ALLOW_TF32 = 12
"""Which input of ``aten::_convolution`` allows TF32: torch's native_functions.yaml."""


class TorchScriptEngine(TorchEngine):
    """A frozen TorchScript model."""

    name = EngineName.TORCHSCRIPT

    # Unlike a program, TorchScript does not say what it takes.
    _detect = CheckedEngine._detect

    def _read(self, path: Path) -> torch.nn.Module:
        with torch_jit_unheard():
            module: torch.nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                path, map_location=self.device.value
            )
            if self.device is Device.CUDA:
                allow_tf32(module, allowed=self.precision is Precision.TF32)
        return module


def allow_tf32(module: Any, *, allowed: bool) -> None:
    """Say whether the convolutions of a module round to TF32 on a GPU.

    Tracing writes into each what torch's own flag was then, and the flag says no more.

    Args:
        module: TorchScript that was not run yet.
        allowed: Whether they do.
    """
    graph = module.graph
    torch._C._jit_pass_inline(graph)
    for node in graph.findAllNodes("aten::_convolution"):
        with graph.insert_point_guard(node):
            node.replaceInput(_ALLOW_TF32, graph.insertConstant(allowed))

"""torch runs TorchScript; the one module that runs it."""

from pathlib import Path
from typing import Any

import torch

from lamella.engines.engine import CheckedEngine, check_number
from lamella.engines.settings import EngineName, Precision
from lamella.engines.torch_engine import TorchEngine
from lamella.errors import StoreError
from lamella.export.description import ModelInterface
from lamella.export.torchscript import torch_jit_unheard
from lamella.settings import Device

_ALLOW_TF32 = 12
"""Which input of ``aten::_convolution`` allows TF32: torch's native_functions.yaml."""


class TorchScriptEngine(TorchEngine):
    """A frozen TorchScript model."""

    name = EngineName.TORCHSCRIPT

    # Unlike a program, TorchScript does not say what it takes, but how much.
    _detect = CheckedEngine._detect

    def _check_given(self, given: ModelInterface, path: Path) -> None:
        """Refuse more or fewer inputs and outputs than the file has; see ``CheckedEngine``."""
        if not hasattr(self._module, "forward"):
            raise StoreError("it has no method `forward`", str(path), "Save it with one")
        schema = self._module.forward.schema
        _, *inputs = schema.arguments
        # Those of a default value may be given or not.
        if not any(each.has_default_value() for each in inputs):
            check_number("inputs", len(given.inputs), len(inputs), path)
        (answer,) = (each.type for each in schema.returns)
        outputs = answer.elements() if isinstance(answer, torch.TupleType) else [answer]
        # Lists and tables do not say how much they hold.
        if all(isinstance(each, torch.TensorType) for each in outputs):
            check_number("outputs", len(given.outputs), len(outputs), path)

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

"""torch runs TorchScript; the one module that runs it."""

from pathlib import Path

import torch

from lamella.engines.engine import CheckedEngine
from lamella.engines.settings import EngineName
from lamella.engines.torch_engine import TorchEngine
from lamella.export.torchscript import torch_jit_unheard


class TorchScriptEngine(TorchEngine):
    """A frozen TorchScript model."""

    name = EngineName.TORCHSCRIPT

    # Unlike a program, TorchScript does not say what it takes.
    _detect = CheckedEngine._detect

    def _read(self, path: Path) -> torch.nn.Module:
        with torch_jit_unheard():
            return torch.jit.load(  # type: ignore[no-untyped-call, no-any-return]
                path, map_location=self.device.value
            )

"""torch runs what ``torch.export`` wrote, as it is or compiled; the one module that runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from lamella.engines.engine import Arrays, CheckedEngine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelInterface, TensorDescription
from lamella.export.torchscript import torch_jit_unheard
from lamella.settings import Device


class TorchEngine(CheckedEngine):
    """A ``.pt2`` program, in 32-bit arithmetic.

    Number of threads and arithmetic are torch's own, for the whole process: the engine sets the
    threads at every call, the arithmetic when it is loaded.
    """

    name = EngineName.TORCH
    load_errors = (RuntimeError, ValueError, OSError, BadZipFile)

    def _load(self, path: Path) -> None:
        # On GPUs, torch's convolutions have 10 bits of mantissa (TF32) unless told otherwise.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        self._use_threads()
        self._module: Callable[..., Any] = self._read(path)

    def _read(self, path: Path) -> torch.nn.Module:
        """Return what a file holds, on the device."""
        program = torch.export.load(path)
        if self.device is Device.CUDA:
            program = move_to_device_pass(program, self.device.value)
        self._signature = _signature(program)
        return program.module()

    def _detect(self, path: Path) -> ModelInterface:
        return self._signature

    def _use_threads(self) -> None:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def _run(self, inputs: Arrays) -> Arrays:
        self._use_threads()
        # torch warns about arrays that it could write to but must not.
        batch = [torch.from_numpy(np.require(each, requirements="W")) for each in inputs]
        with torch.inference_mode():
            found = self._module(*(each.to(self.device.value) for each in batch))
        outputs = (found,) if isinstance(found, torch.Tensor) else found
        return tuple(output.cpu().numpy() for output in outputs)

    @classmethod
    def version(cls, device: Device) -> str:
        """Return torch's version; see ``CheckedEngine``."""
        if device is Device.CUDA:
            try:
                torch.cuda.init()  # type: ignore[no-untyped-call]
            except (RuntimeError, AssertionError) as error:
                raise EngineUnavailableError(
                    f"torch cannot use a GPU ({str(error).splitlines()[0]})",
                    f"{cls.name} on {device}",
                    "Choose the device `cpu`, or run on a node with an NVIDIA GPU",
                ) from error
        return str(torch.__version__)


class CompiledTorchEngine(TorchEngine):
    """The same program, compiled for this machine when it is loaded; it needs a C++ compiler.

    It is compiled once for any number of rows, and at the first call with one row for one.
    """

    name = EngineName.TORCH_COMPILED

    def _warm_up(self) -> None:
        with torch_jit_unheard():
            self._module = torch.compile(self._module, dynamic=True)
            # Now, so that it is part of the loading and fails there.
            self._run(tuple(_few_rows(each) for each in self.interface.inputs))


def _few_rows(tensor: TensorDescription) -> NDArray[Any]:
    # With a single row it would be compiled for one alone.
    rows, *lengths = (2 if length < 0 else length for length in tensor.shape)
    return np.zeros([rows, *lengths], dtype=tensor.dtype)


def _signature(program: ExportedProgram) -> ModelInterface:
    """Return what a program says of its inputs and outputs."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature = program.graph_signature
    return ModelInterface(
        inputs=tuple(_tensor(str(name), values[str(name)]) for name in signature.user_inputs),
        outputs=tuple(_tensor(str(name), values[str(name)]) for name in signature.user_outputs),
    )


def _tensor(name: str, value: Any) -> TensorDescription:
    """Return an input or output of a program, whose free lengths are symbols."""
    return TensorDescription(
        name=name,
        dtype=str(value.dtype).removeprefix("torch."),
        shape=tuple(length if isinstance(length, int) else -1 for length in value.shape),
        layout="",
    )

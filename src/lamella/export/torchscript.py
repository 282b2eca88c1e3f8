"""A network as TorchScript; the one module that writes it."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from lamella.errors import UnwritableFormatError
from lamella.stores.atomic import replacing


@contextmanager
def torch_jit_unheard() -> Iterator[None]:
    """Ignore that torch 2.13, which uses ``torch.jit`` itself, wants ``torch.export`` instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
        yield


def write_torchscript(path: Path, program: ExportedProgram) -> None:
    """Write a program as TorchScript, frozen, in one step.

    Args:
        path: The final path.
        program: The exported program; axis 0 of inputs and outputs is free.

    Raises:
        UnwritableFormatError: TorchScript has not what the network does.
    """
    module = program.module()
    assert program.example_inputs is not None, "torch.export keeps them"
    arguments, _ = program.example_inputs
    with torch_jit_unheard(), torch.inference_mode():
        # The program checks the shapes that it gets, and nothing else of Python is left in it.
        warnings.filterwarnings("ignore", category=TracerWarning)
        try:
            traced = torch.jit.trace(module, arguments)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced.eval())
        except RuntimeError as error:
            reason, _, _ = str(error).strip().partition("\n")
            raise UnwritableFormatError(
                f"the network cannot be written as TorchScript ({reason})",
                str(path),
                "Take `torchscript` out of `parity.engines` and `benchmark.engines`, or choose"
                " another `model`",
            ) from error
        # Through memory: torch puts the name of the file, here a temporary one, into the file.
        packed = io.BytesIO()
        torch.jit.save(frozen, packed)
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getbuffer())

"""A network as a ``torch.export`` program."""

import io
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from lamella.errors import ExportError
from lamella.stores.atomic import replacing


def example_patches(patch_px: int) -> torch.Tensor:
    """Return two black patches, ``(2, patch_px, patch_px, 3)`` uint8."""
    return torch.zeros((2, patch_px, patch_px, 3), dtype=torch.uint8)


def trace_program(network: nn.Module, examples: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """Return the program of a network in eval mode, for any number of rows.

    Args:
        network: Takes one tensor for each example; axis 0 of all of them is the batch.
        examples: Of two rows each: a length of 1 would be taken for a fixed one.

    Raises:
        ExportError: the network depends on values that are known only when it runs.
    """
    batch = Dim("batch")
    try:
        program = torch.export.export(
            network, examples, dynamic_shapes=tuple({0: batch} for _ in examples), strict=False
        )
    except RuntimeError as error:
        raise ExportError(
            f"torch.export cannot trace the network ({error})",
            type(network).__name__,
            "Choose another `model` for the run",
        ) from error
    _strip_notes(program)
    return program


def write_program(path: Path, program: ExportedProgram) -> None:
    """Write a program in one step; equal weights give equal bytes."""
    # Through memory: torch puts the name of the file, here a temporary one, into the file.
    packed = io.BytesIO()
    torch.export.save(program, packed)
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def _strip_notes(program: ExportedProgram) -> None:
    """Remove the notes on source lines, which hold the paths of the machine."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)

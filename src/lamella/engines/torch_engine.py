"""torch runs the program that ``torch.export`` wrote; the one module that runs it."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from lamella.engines.engine import CheckedEngine
from lamella.engines.settings import EngineName
from lamella.errors import EngineUnavailableError
from lamella.export.description import ModelDescription
from lamella.settings import Device

LOAD_ERRORS = (RuntimeError, ValueError, OSError, BadZipFile)
"""What torch raises where it cannot load a program."""


class TorchEngine(CheckedEngine):
    """A ``.pt2`` program, in 32-bit arithmetic.

    Number of threads and arithmetic are torch's own, for the whole process: the engine sets the
    threads at every call, the arithmetic when it is loaded.
    """

    name = EngineName.TORCH

    def __init__(
        self, path: Path, description: ModelDescription, *, device: Device, threads: int
    ) -> None:
        super().__init__(description, device=device, threads=threads)
        # On GPUs, torch's convolutions have 10 bits of mantissa (TF32) unless told otherwise.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        program = torch.export.load(path)
        if device is Device.CUDA:
            program = move_to_device_pass(program, device.value)
        self._module = program.module()

    def _run(self, patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        # torch warns about arrays that it could write to but must not.
        batch = torch.from_numpy(np.require(patches, requirements="W"))
        with torch.inference_mode():
            probabilities: torch.Tensor = self._module(batch.to(self.device.value))
        answer: NDArray[np.float32] = probabilities.cpu().numpy()
        return answer


def version(device: Device) -> str:
    """Return torch's version.

    Raises:
        EngineUnavailableError: torch cannot use the device.
    """
    if device is Device.CUDA:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            raise EngineUnavailableError(
                f"torch cannot use a GPU ({str(error).splitlines()[0]})",
                f"{EngineName.TORCH} on {device}",
                "Choose the device `cpu`, or run on a node with an NVIDIA GPU",
            ) from error
    return str(torch.__version__)

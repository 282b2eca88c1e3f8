"""Where a rank that trains a network of torch computes, and in which numbers."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.amp import GradScaler

from lamella.errors import TrainingError
from lamella.settings import Device
from lamella.training.compile_cache import keep_compiled_code_apart
from lamella.training.settings import Precision, RunSettings

_TYPES = {
    Precision.FLOAT32: torch.float32,
    Precision.BFLOAT16: torch.bfloat16,
    Precision.FLOAT16: torch.float16,
}


Forward = Callable[[torch.Tensor], torch.Tensor]
"""From normalised images to logits."""


@dataclass(frozen=True)
class Arithmetic:
    """Where a rank computes, and in which numbers it learns.

    Attributes:
        device: The processor, or a GPU.
        precision: Numbers in which the network learns.
        scaler: Keeps small gradients of float16 from becoming 0; else it changes nothing.
    """

    device: torch.device
    precision: Precision
    scaler: GradScaler

    def mixed(self) -> torch.autocast:
        """Return a block in which operations that bear it compute in ``precision``."""
        enabled = self.precision is not Precision.FLOAT32
        return torch.autocast(self.device.type, _TYPES[self.precision], enabled=enabled)

    def random_state(self) -> list[torch.Tensor]:
        """Return the states of the generators that the network draws from."""
        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return states

    def set_random_state(self, states: list[torch.Tensor]) -> None:
        """Set the generators to the states that ``random_state`` returned."""
        torch.set_rng_state(states[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self.device)


def prepare_arithmetic(run: RunSettings, device: Device, *, gpu: int) -> Arithmetic:
    """Return where and in which numbers a rank computes, and set torch up for it.

    Operations that vary from run to run are refused. ``float32`` means it on a GPU too: torch
    would round to the 10 bits of TF32 there.

    Args:
        run: Threads and precision.
        device: The processor, or a GPU.
        gpu: Which one of this node, where it is a GPU.
    """
    torch.set_num_threads(run.threads)
    # cuBLAS reads it when it is first used; without it, it is refused as varying.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False
    on_gpu = device is Device.CUDA
    if on_gpu:
        torch.cuda.set_device(gpu)
    return Arithmetic(
        device=torch.device("cuda", gpu) if on_gpu else torch.device("cpu"),
        precision=run.precision,
        scaler=GradScaler(device.value, enabled=run.precision is Precision.FLOAT16),
    )


def compiled(network: nn.Module, device: torch.device) -> Forward:
    """Return a network that is compiled when it is first used; it shares the weights.

    Raises:
        TrainingError: nothing can be compiled here.
    """
    keep_compiled_code_apart()
    try:
        torch.compile(_smallest)(torch.ones(2, device=device))
    except TorchDynamoException as error:
        raise TrainingError(
            f"torch.compile does not work here ({str(error).strip().splitlines()[0]})",
            "compile of the run",
            "Install a C++ compiler such as g++, or set compile: false",
        ) from error
    # Sizes of batches differ by one at most; code for any size would differ in its last digits
    # between a training that was broken off and one that was not.
    return torch.compile(network, dynamic=False)


def _smallest(numbers: torch.Tensor) -> torch.Tensor:
    return numbers + 1.0

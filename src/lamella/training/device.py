"""Whether the device that is asked for is here; another one is never taken instead."""

from lamella.errors import TrainingError
from lamella.models.keras_library import load_tensorflow
from lamella.settings import Device
from lamella.training.settings import Framework, Precision, RunSettings, TrainingSettings


def check_device(run: RunSettings, training: TrainingSettings) -> None:
    """Check that the run can be trained on the device that is asked for.

    Raises:
        TrainingError: its framework sees fewer GPUs on this node than processes, or torch says that
            they do not know bfloat16.
    """
    if training.device is not Device.CUDA:
        return
    of_torch = run.framework is Framework.TORCH
    gpus = _gpus_of_torch() if of_torch else _gpus_of_tensorflow()
    if gpus < training.processes_per_node:
        raise TrainingError(
            f"{training.processes_per_node} GPUs are needed, {run.framework} can use {gpus} here",
            "training.device: cuda",
            "Ask SLURM for GPUs, set fewer training.processes, or set device: cpu",
        )
    if of_torch and run.precision is Precision.BFLOAT16 and not _torch_knows_bfloat16():
        raise TrainingError(
            "the GPU does not know bfloat16",
            "precision of the run",
            "Set it to float16 or float32",
        )


# Each framework is imported only where it is asked: it takes seconds.


def _gpus_of_torch() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _torch_knows_bfloat16() -> bool:
    import torch

    known: bool = torch.cuda.is_bf16_supported()
    return known


def _gpus_of_tensorflow() -> int:
    return len(load_tensorflow().config.list_physical_devices("GPU"))

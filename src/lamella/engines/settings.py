"""Which engines there are, and how their answers are compared."""

from enum import StrEnum

from pydantic import Field

from lamella.settings import Device, Settings


class EngineName(StrEnum):
    """A program that runs exported models."""

    TORCH = "torch"
    TORCH_COMPILED = "torch_compiled"
    TORCHSCRIPT = "torchscript"
    TENSORFLOW = "tensorflow"
    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_OPENVINO = "onnxruntime_openvino"
    ONNXRUNTIME_TENSORRT = "onnxruntime_tensorrt"
    OPENVINO = "openvino"


USUAL_ENGINES = (EngineName.TORCH, EngineName.ONNXRUNTIME, EngineName.OPENVINO)
"""Those that need neither a compiler nor an environment of their own."""


class ParitySettings(Settings):
    """How the engines' answers are compared with those of the trained network."""

    engines: tuple[EngineName, ...] = USUAL_ENGINES
    """Engines that are compared; the network is exported in the formats that they read, and in any
    case as ONNX and by torch.export. `torch_compiled` needs a C++ compiler, `tensorflow` an
    environment of its own, which is made when it is first asked for."""

    patches: int = Field(default=1024, ge=1)
    """Most patches that are compared, drawn from the validation and test splits."""

    batch_size: int = Field(default=32, ge=1)
    """Patches per call."""

    limit: float = Field(default=1e-4, gt=0.0, le=1.0)
    """Largest difference of a probability, or of a number in standard deviations, at which an
    engine's answers are valid; 0.0001 is for 32-bit arithmetic."""

    device: Device = Device.CPU
    """Where the engines run; the trained network always runs on the CPU."""

    threads: int = Field(default=2, ge=1)
    """Threads that an engine computes with."""

    seed: int = Field(default=0, ge=0)
    """Seed of the choice of patches."""

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
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


class Precision(StrEnum):
    """Arithmetic that an engine computes in; its answers are 32-bit numbers in any case."""

    F32 = "f32"
    """32 bits, 24 of them significant: that of the training."""

    TF32 = "tf32"
    """Of NVIDIA's GPUs from Ampere on: factors are rounded to 11 significant bits, sums have 24."""

    BF16 = "bf16"
    """16 bits (bfloat16), 8 of them significant, with the range of 32 bits."""

    F16 = "f16"
    """16 bits (IEEE half), 11 of them significant; what is above 65,504 becomes infinite."""


USUAL_ENGINES = (EngineName.TORCH, EngineName.ONNXRUNTIME, EngineName.OPENVINO)
"""Those that need neither a compiler nor an environment of their own."""


class ParityLimits(Settings):
    """Largest differences at which answers are valid, one for each precision.

    Rounding to 8 significant bits (bf16) changes a number by up to 2^-8 of it, to 11 (tf32, f16) by
    an eighth of that. In bf16 a trained ResNet-50 stayed within 0.01, ResNets of random weights
    within 0.04: "Precisions" in docs/engines.md. The limits are the next round figures, in tf32 and
    f16 an eighth of it, rounded up.
    """

    f32: float = Field(default=1e-4, gt=0.0, le=1.0)
    """Largest difference of a probability, or of a number in standard deviations, at which answers
    in f32 are valid."""

    tf32: float = Field(default=0.01, gt=0.0, le=1.0)
    """The same in tf32, which rounds as f16 does."""

    bf16: float = Field(default=0.05, gt=0.0, le=1.0)
    """The same in bf16, of 8 significant bits."""

    f16: float = Field(default=0.01, gt=0.0, le=1.0)
    """The same in f16, of 11 significant bits."""

    def of(self, precision: Precision) -> float:
        """Return the limit of a precision."""
        limit: float = getattr(self, precision)
        return limit


class ParitySettings(Settings):
    """How the engines' answers are compared with those of the trained network."""

    engines: tuple[EngineName, ...] = USUAL_ENGINES
    """Engines that are compared; the network is exported in the formats that they read, and in any
    case as ONNX and by torch.export. `torch_compiled` needs a C++ compiler, `tensorflow` an
    environment of its own, which is made when it is first asked for."""

    precisions: tuple[Precision, ...] = Field(default=(Precision.F32,), min_length=1)
    """Arithmetic that each engine is compared in; one that an engine does not have gets a row that
    says why. `predict_slides` computes in `f32`."""

    limits: ParityLimits = ParityLimits()
    """Largest differences at which an engine's answers are valid, one for each precision."""

    patches: int = Field(default=1024, ge=1)
    """Most patches that are compared, drawn from the validation and test splits."""

    batch_size: int = Field(default=32, ge=1)
    """Patches per call."""

    device: Device = Device.CPU
    """Where the engines run; the trained network always runs on the CPU."""

    threads: int = Field(default=2, ge=1)
    """Threads that an engine computes with."""

    seed: int = Field(default=0, ge=0)
    """Seed of the choice of patches."""

"""How slides are predicted."""

from pydantic import Field

from lamella.engines.settings import EngineName
from lamella.evaluation.aggregation import TOP_SHARE
from lamella.settings import Device, Settings


class InferenceSettings(Settings):
    """What of the settings changes probabilities."""

    engine: EngineName = EngineName.ONNXRUNTIME
    """Inference engine."""

    device: Device = Device.CPU
    """Where the engine runs."""


class PredictSettings(InferenceSettings):
    """Which engine looks at the patches, and what is made of its answers."""

    batch_size: int = Field(default=32, ge=1)
    """Patches per call of the engine."""

    threads: int = Field(default=1, ge=1)
    """Threads of the engine in each worker process."""

    readers: int = Field(default=1, ge=1, le=64)
    """Threads in each worker process that read the next patches while the engine computes; more
    where a GPU waits for them. Each has a batch in memory, and three more are there."""

    target: str = Field(default="tumor", min_length=1)
    """Class whose probability is drawn and scored; one of `patches.classes`. Of runs that learn
    columns of the slide table, the first column is."""

    top_share: float = Field(default=TOP_SHARE, gt=0.0, le=1.0)
    """Share of a slide's patches, those with the highest probability, whose mean is its score."""

    @property
    def inference(self) -> InferenceSettings:
        """Those of them that change probabilities."""
        return InferenceSettings(engine=self.engine, device=self.device)

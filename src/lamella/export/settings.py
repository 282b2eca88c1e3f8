"""What can be chosen about exports."""

from enum import StrEnum

from pydantic import Field

from lamella.settings import Settings


class SelectionMetric(StrEnum):
    """Validation figure by which the seed to export is chosen; higher is better."""

    AUC = "auc"
    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    AVERAGE_PRECISION = "average_precision"


class ExportSettings(Settings):
    """Which of a run's networks is exported, and how."""

    metric: SelectionMetric = SelectionMetric.AUC
    """Validation figure at patch level; the seed with the highest is exported, the lowest seed
    among equals. Runs that learn numbers have none of these: of theirs the seed with the lowest
    validation loss is exported."""

    opset: int = Field(default=18, ge=18, le=23)
    """ONNX operator set; 18 is what the exporter writes by itself and every engine here reads."""

"""The ways to make one probability of those of many patches."""

from enum import StrEnum


class Aggregation(StrEnum):
    """What is made of the probabilities of many patches; ``aggregate`` says how."""

    MEAN = "mean"
    MAX = "max"
    NOISY_OR = "noisy_or"
    TOP_K = "top_k"


SCORE_AGGREGATION = Aggregation.TOP_K
"""The aggregation that is drawn, summed up and compared; that of ``predict_slides``, too."""

TOP_SHARE = 0.05
"""Share of the patches that ``top_k`` takes: always here, ``predict.top_share`` by default."""

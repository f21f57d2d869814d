"""Scores of a chip: the packaged metrics, and the interface of a user's own.

Names and number formats of scores are in `scale`.
"""

from rramsweep.metrics.scoring import (
    METRICS,
    Agreement,
    CosineSimilarity,
    CrossEntropy,
    MeanSquaredError,
    Metric,
    Number,
    Perplexity,
    Share,
    Top1,
    Top5,
)

__all__ = [
    "METRICS",
    "Agreement",
    "CosineSimilarity",
    "CrossEntropy",
    "MeanSquaredError",
    "Metric",
    "Number",
    "Perplexity",
    "Share",
    "Top1",
    "Top5",
]

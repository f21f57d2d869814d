"""Scores of a chip: the packaged metrics, and what a user's own must be.

How a score is named and written is in `scale`.
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

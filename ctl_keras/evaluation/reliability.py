"""Whether the calibrated probabilities are right: reliability curve and expected calibration
error."""

from typing import Any

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.evaluation.ranking import Ranker, ranked_blocks
from ctl_keras.training.calibration import Calibration

BINS = 10


def reliability(pairs: Pairs, ranker: Ranker, calibration: Calibration) -> dict[str, Any]:
    """Compares probabilities with how often they are right, for positives against negatives, half
    and half.

    Each pair counts 1 for its product, and 1 in all for its negatives, which share it equally. All
    of them, and not one drawn at random, because that is the same expectation with less noise; and
    half of the weight is positive, as in the fit.

    Args:
        pairs: the table; pairs without a negative are left out.
        ranker: the model's distances.
        calibration: the map that is judged.

    Returns:
        `{"expected_calibration_error", "bins": [{"low", "high", "probability", "positives",
        "count"}, ...]}`: ten equal bins of probability, each with its mean probability, its share
        of positives (both None if it is empty) and its weight; the weights add up to twice the
        number of pairs. The error is the mean of `|probability - positives|` by weight.
    """
    weight, probability, positive = np.zeros((3, BINS))

    def add(values: np.ndarray, weights: np.ndarray, is_positive: bool) -> None:
        bins = np.minimum((values * BINS).astype(int), BINS - 1).ravel()
        weight[:] += np.bincount(bins, weights.ravel(), BINS)
        probability[:] += np.bincount(bins, (weights * values).ravel(), BINS)
        positive[:] += np.bincount(bins, weights.ravel() * is_positive, BINS)

    for _, distances, own, negative in ranked_blocks(pairs, ranker):
        add(calibration.probability(own), np.ones_like(own), True)
        add(
            calibration.probability(distances),
            negative / negative.sum(axis=1, keepdims=True),
            False,
        )
    filled = weight > 0
    means = np.divide(probability, weight, where=filled, out=np.zeros(BINS))
    shares = np.divide(positive, weight, where=filled, out=np.zeros(BINS))
    bins = [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "probability": float(means[index]) if filled[index] else None,
            "positives": float(shares[index]) if filled[index] else None,
            "count": float(weight[index]),
        }
        for index in range(BINS)
    ]
    return {
        "expected_calibration_error": float((weight * np.abs(means - shares)).sum() / weight.sum()),
        "bins": bins,
    }

"""From a distance to the probability that the product completes the scene."""

from dataclasses import dataclass

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.data.triplets import triplets
from ctl_keras.errors import InputError
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.training.feature_cache import CachedFeatures


@dataclass(frozen=True)
class Calibration:
    """The logistic map `1 / (1 + exp(slope * distance - intercept))`.

    Attributes:
        slope: float, at least 0: a nearer product is never less probable.
        intercept: float.
        pairs: int. Number of positive pairs that it was fitted on, against as many negatives.
    """

    slope: float
    intercept: float
    pairs: int

    def probability(self, distance: np.ndarray) -> np.ndarray:
        """Probabilities that products complete their scenes.

        Args:
            distance: float array `[...]`, hybrid distances.

        Returns:
            Float array of the same shape, 0..1.
        """
        return 1 / (1 + np.exp(self.slope * np.asarray(distance) - self.intercept))


# 0.5 at the distance of orthogonal embeddings
UNCALIBRATED = Calibration(slope=1.0, intercept=2.0, pairs=0)


def fit_calibration(
    model: CompleteTheLook,
    validation: Pairs,
    batch_size: int = 32,
    source: CachedFeatures | None = None,
) -> Calibration:
    """Fits the map to a model's distances on validation pairs, each against one negative of its
    category.

    Args:
        model: the trained model.
        validation: pairs that it was not trained on.
        batch_size: int. Defaults to 32.
        source: cached features of these pairs. Defaults to their pictures.

    Returns:
        The fitted `Calibration`.

    Raises:
        InputError: no pair has a negative.
    """
    dataset = triplets(validation, batch_size, model.image_size, training=False, source=source)
    scorer = model if source is None else model.feature_trainer()
    return fit_logistic(scorer.predict(dataset, verbose=0))


def fit_logistic(distances: np.ndarray) -> Calibration:
    """Maximum-likelihood logistic map from distances to positives and negatives, by Newton's
    method.

    Platt's targets, (n + 1) / (n + 2) and 1 / (n + 2), keep it finite where the two separate
    perfectly (Platt 1999).

    Args:
        distances: float `[pairs, 2]`, to positives and to negatives.

    Raises:
        InputError: there is no pair.
    """
    count = len(distances)
    if not count:
        raise InputError("A calibration needs at least one pair.")
    x = np.asarray(distances, np.float64).T.ravel()
    target = np.repeat([(count + 1) / (count + 2), 1 / (count + 2)], count)
    scale = max(x.std(), 1e-6)
    design = np.stack([(x - x.mean()) / scale, np.ones_like(x)], axis=1)
    weights = np.zeros(2)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (target - probability) - 1e-6 * weights
        hessian = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-6 * np.eye(
            2
        )
        step = np.linalg.solve(hessian, gradient)
        weights += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    slope = -weights[0] / scale
    # positives are farther than negatives: the distance tells nothing, so neither does the map
    if slope < 0:
        return Calibration(slope=0.0, intercept=0.0, pairs=count)
    return Calibration(
        slope=float(slope), intercept=float(weights[1] + slope * x.mean()), pairs=count
    )

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.training.calibration import fit_logistic


def log_likelihood(slope, intercept, distances):
    """Of Platt's targets, by plain loops over the pairs."""
    count = len(distances)
    total = 0.0
    for column, target in ((0, (count + 1) / (count + 2)), (1, 1 / (count + 2))):
        for distance in distances[:, column]:
            p = 1 / (1 + np.exp(slope * distance - intercept))
            total += target * np.log(p) + (1 - target) * np.log(1 - p)
    return total


def test_no_other_line_is_more_likely():
    random = np.random.default_rng(0)
    distances = np.stack([random.normal(1.2, 0.4, 200), random.normal(1.7, 0.4, 200)], axis=1)
    fitted = fit_logistic(distances)
    best = log_likelihood(fitted.slope, fitted.intercept, distances)
    for slope, intercept in [(0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (1, 1), (-1, -1)]:
        assert log_likelihood(fitted.slope + slope, fitted.intercept + intercept, distances) < best
    assert fitted.pairs == 200


def test_recovers_a_known_map():
    random = np.random.default_rng(1)
    values = random.uniform(0, 4, 200_000)
    is_positive = random.random(len(values)) < 1 / (1 + np.exp(2.5 * values - 5))
    count = min(is_positive.sum(), (~is_positive).sum())
    fitted = fit_logistic(
        np.stack([values[is_positive][:count], values[~is_positive][:count]], axis=1)
    )
    assert fitted.slope == pytest.approx(2.5, abs=0.05)
    assert fitted.intercept == pytest.approx(5, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=30))
def test_is_finite_and_never_prefers_the_farther(distances):
    fitted = fit_logistic(np.array(distances))
    probabilities = fitted.probability(np.linspace(0, 4, 9))
    assert np.isfinite(probabilities).all()
    assert (np.diff(probabilities) <= 1e-12).all()


def test_no_pair():
    with pytest.raises(ctl.InputError, match="A calibration needs at least one pair"):
        fit_logistic(np.zeros((0, 2)))

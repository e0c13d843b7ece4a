import keras
import numpy as np
import pytest
import tensorflow as tf

from ctl_keras import (
    ActiveTriplets,
    NegativeDistance,
    PositiveDistance,
    TripletAccuracy,
    TripletLoss,
)

DISTANCES = np.random.default_rng(0).uniform(0, 4, size=(50, 2))


def test_equals_plain_loops_with_one_value_an_anchor():
    values = TripletLoss(0.3, reduction="none").call(None, tf.constant(DISTANCES))
    expected = [max(0.0, positive - negative + 0.3) for positive, negative in DISTANCES.tolist()]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_reduces_to_the_mean_and_weighs_samples():
    labels = np.tile([1.0, 0.0], (50, 1))
    expected = np.maximum(0, DISTANCES[:, 0] - DISTANCES[:, 1] + 0.2)
    assert float(TripletLoss(0.2)(labels, DISTANCES)) == pytest.approx(expected.mean(), abs=1e-6)
    weights = np.arange(50.0)
    weighted = float(TripletLoss(0.2)(labels, DISTANCES, sample_weight=weights))
    assert weighted == pytest.approx((expected * weights).sum() / 50, rel=1e-5)


def test_half_precision_is_not_rounded():
    close = tf.constant([[1.0, 1.0]], tf.float16)
    loss = TripletLoss(0.2001, reduction="none").call(None, close)
    assert loss.dtype == tf.float32
    assert float(loss[0]) == pytest.approx(0.2001)


def test_collapse_costs_the_margin():
    assert float(TripletLoss(0.2)(np.zeros((3, 2)), np.full((3, 2), 1.7))) == pytest.approx(0.2)


def test_round_trip():
    loss = keras.losses.deserialize(keras.losses.serialize(TripletLoss(0.4)))
    assert isinstance(loss, TripletLoss)
    assert loss.margin == 0.4


@pytest.mark.parametrize("margin", [0, -1])
def test_wrong_margin(margin):
    with pytest.raises(ValueError, match=f"`margin` must be positive. Received: margin={margin}"):
        TripletLoss(margin)
    with pytest.raises(ValueError, match=f"`margin` must be positive. Received: margin={margin}"):
        ActiveTriplets(margin)


def test_metrics_equal_plain_loops_over_batches():
    distances = DISTANCES.copy()
    distances[:3, 1] = distances[:3, 0]  # ties
    expected = {
        TripletAccuracy(): [
            1.0 if p < n else 0.5 if p == n else 0.0
            for p, n in distances.astype("float32").tolist()
        ],
        ActiveTriplets(0.3): [float(p - n + 0.3 > 0) for p, n in distances.tolist()],
        PositiveDistance(): distances[:, 0],
        NegativeDistance(): distances[:, 1],
    }
    for metric, values in expected.items():
        for start in range(0, 50, 20):
            metric.update_state(None, distances[start : start + 20].astype("float32"))
        assert float(metric.result()) == pytest.approx(np.mean(values), abs=1e-6)
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert again.get_config() == metric.get_config()

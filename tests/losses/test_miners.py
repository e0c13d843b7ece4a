"""Miners and reducers against plain loops, and against TensorFlow Addons where both apply."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ctl_keras import (
    ActiveTriplets,
    DistanceSpread,
    HitAtK,
    MeanReciprocalRank,
    NegativeDistance,
    TripletAccuracy,
    TripletLoss,
)
from ctl_keras.config import MINERS, REDUCERS

RANDOM = np.random.default_rng(0)
DISTANCES = RANDOM.uniform(0, 4, size=(20, 9))
DISTANCES[:, 1:][RANDOM.uniform(size=(20, 8)) < 0.4] = np.inf
DISTANCES[3, 1:] = np.inf  # an anchor without a negative
DISTANCES[4, 0] = 5.0  # no negative is farther
DISTANCES[5, 2] = DISTANCES[5, 0]


def mined(positive, negatives, miner):
    if miner == "all" or not negatives:
        return negatives
    if miner == "hard":
        return [min(negatives)]
    farther = [negative for negative in negatives if negative > positive]
    return [min(farther) if farther else max(negatives)]


def by_loops(margin, miner, reducer, soft):
    """One value per anchor."""
    anchors = []
    for positive, *others in DISTANCES.tolist():
        negatives = mined(positive, [d for d in others if math.isfinite(d)], miner)
        anchors.append(
            [
                math.log1p(math.exp(positive - n)) if soft else max(0.0, positive - n + margin)
                for n in negatives
            ]
        )
    if reducer == "mean":
        return [sum(losses) / len(losses) if losses else 0.0 for losses in anchors]
    active = sum(loss > 0 for losses in anchors for loss in losses)
    return [sum(losses) * len(anchors) / active for losses in anchors]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("miner", MINERS)
def test_equals_plain_loops(miner, reducer, soft):
    loss = TripletLoss(0.7, miner, reducer, soft, reduction="none")
    values = loss.call(None, tf.constant(DISTANCES))
    np.testing.assert_allclose(values, by_loops(0.7, miner, reducer, soft), rtol=0, atol=1e-12)


def test_mean_of_active_is_the_mean_over_the_batchs_active_triplets():
    finite = np.isfinite(DISTANCES[:, 1:])
    losses = np.maximum(0, DISTANCES[:, :1] - np.where(finite, DISTANCES[:, 1:], np.inf) + 0.2)
    value = float(TripletLoss(0.2, reducer="mean_of_active")(np.ones((20, 1)), DISTANCES))
    assert value == pytest.approx(losses[losses > 0].mean(), rel=1e-5)


@pytest.mark.parametrize("miner", MINERS)
def test_gradients_are_finite_where_there_is_no_negative(miner):
    for reducer in REDUCERS:
        y_pred = tf.constant(DISTANCES)
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            loss = tf.reduce_sum(
                TripletLoss(0.5, miner, reducer, reduction="none").call(None, y_pred)
            )
        gradient = tape.gradient(loss, y_pred).numpy()
        assert np.isfinite(gradient).all()
        assert (gradient[3] == 0).all()


@pytest.mark.parametrize(("soft", "margin"), [(False, 0.3), (True, 1.0)])
def test_the_hard_miner_equals_tensorflow_addons(soft, margin):
    """Pairs of one label each: anchors are the first ones' embeddings, as in an in-batch step with
    one positive a scene."""
    tfa = pytest.importorskip(
        "tensorflow_addons", reason="TensorFlow Addons needs the addons stack"
    )
    embeddings, labels, y_pred = one_positive_each()
    expected = tfa.losses.TripletHardLoss(margin=margin, soft=soft, distance_metric="squared-L2")(
        labels, embeddings
    )
    ours = TripletLoss(margin, "hard", soft=soft)(np.ones((len(labels), 1)), y_pred)
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


def test_the_semi_hard_miner_equals_tensorflow_addons():
    tfa = pytest.importorskip(
        "tensorflow_addons", reason="TensorFlow Addons needs the addons stack"
    )
    embeddings, labels, y_pred = one_positive_each()
    expected = tfa.losses.TripletSemiHardLoss(margin=0.3, distance_metric="squared-L2")(
        labels, embeddings
    )
    ours = TripletLoss(0.3, "semi_hard")(np.ones((len(labels), 1)), y_pred)
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


def one_positive_each():
    """Embeddings with two of each label, and our form of their distances: the positive, then the
    negatives."""
    random = np.random.default_rng(3)
    embeddings = random.normal(size=(24, 6)).astype("float32")
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = np.repeat(np.arange(12), 2)
    distances = np.square(embeddings[:, None] - embeddings[None]).sum(-1)
    same = labels[:, None] == labels[None]
    positive = distances[same & ~np.eye(24, dtype=bool)]
    return (
        embeddings,
        labels,
        np.concatenate([positive[:, None], np.where(same, np.inf, distances)], axis=1),
    )


def test_metrics_equal_plain_loops_with_many_negatives():
    rows = [
        (row[0], [d for d in row[1:] if math.isfinite(d)])
        for row in DISTANCES.astype("float32").tolist()
    ]
    rows = [(positive, negatives) for positive, negatives in rows if negatives]

    def mean(value):
        return sum(value(positive, negatives) for positive, negatives in rows) / len(rows)

    def wins(positive, negatives):
        return sum(1.0 if positive < n else 0.5 if positive == n else 0.0 for n in negatives)

    def rank(positive, negatives):
        return 1 + len(negatives) - wins(positive, negatives)

    expected = {
        TripletAccuracy(): mean(lambda p, n: wins(p, n) / len(n)),
        ActiveTriplets(0.3): mean(lambda p, n: sum(p - d + 0.3 > 0 for d in n) / len(n)),
        NegativeDistance(): mean(lambda p, n: sum(n) / len(n)),
        HitAtK(2): mean(lambda p, n: rank(p, n) <= 2),
        MeanReciprocalRank(): mean(lambda p, n: 1 / rank(p, n)),
        DistanceSpread(): mean(lambda p, n: np.std([p, *n])),
    }
    for metric, value in expected.items():
        metric.update_state(None, DISTANCES.astype("float32"))
        assert float(metric.result()) == pytest.approx(value, abs=1e-6), metric.name
        assert type(metric).from_config(metric.get_config()).get_config() == metric.get_config()


def test_a_distance_that_is_no_number_shows():
    y_pred = np.float32([[np.nan, 1.0], [0.5, 1.0]])
    assert np.isnan(float(TripletLoss()(np.ones((2, 1)), y_pred)))
    assert np.isnan(float(TripletLoss(miner="hard")(np.ones((2, 1)), y_pred[:, ::-1])))


def test_errors():
    with pytest.raises(
        ValueError, match="`miner` must be one of all, semi_hard, hard. Received: miner='easy'"
    ):
        TripletLoss(miner="easy")
    with pytest.raises(
        ValueError, match="`reducer` must be one of mean, mean_of_active. Received: reducer='sum'"
    ):
        TripletLoss(reducer="sum")
    with pytest.raises(ValueError, match="`k` must be positive. Received: k=0"):
        HitAtK(0)

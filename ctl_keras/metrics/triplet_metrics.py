"""What a triplet training should watch: a collapse shows in all of them at a glance.

All take `y_pred`, float `[batch, 1 + negatives]`: the distances to the positive and to the
negatives, infinite where there is none. Anchors without a negative do not count, except in
`PositiveDistance`.
"""

import keras
import tensorflow as tf


class _PerAnchor(keras.metrics.Mean):
    """The mean, over anchors with a negative, of `value(positive [batch, 1], negatives [batch,
    negatives], exists)`."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = tf.cast(y_pred, tf.float32)
        positive, negatives = y_pred[:, :1], y_pred[:, 1:]
        exists = ~tf.math.is_inf(negatives)
        weight = tf.cast(tf.reduce_any(exists, axis=1), tf.float32)
        if sample_weight is not None:
            weight *= tf.cast(tf.reshape(sample_weight, [-1]), tf.float32)
        return super().update_state(self.value(positive, negatives, exists), weight)

    def value(self, positive: tf.Tensor, negatives: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """The figure of each anchor.

        Args:
            positive: float32 `[batch, 1]`, distances.
            negatives: float32 `[batch, negatives]`, distances.
            exists: bool `[batch, negatives]`, whether there is such a negative.

        Returns:
            Float32 `[batch]`.
        """
        raise NotImplementedError


def _mean_of(values: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
    """`[batch]`, the mean of each row's values where `exists`."""
    weights = tf.cast(exists, tf.float32)
    values = tf.where(exists, tf.cast(values, tf.float32), 0.0)
    return tf.reduce_sum(values, axis=1) / tf.maximum(tf.reduce_sum(weights, axis=1), 1)


def _rank(positive: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
    """`[batch]`, the positive's place among the negatives, from 1; a tie counts half."""
    nearer = (
        tf.cast(negatives < positive, tf.float32)
        + tf.cast(tf.equal(negatives, positive), tf.float32) / 2
    )
    return 1 + tf.reduce_sum(nearer, axis=1)


@keras.saving.register_keras_serializable(package="ctl_keras")
class TripletAccuracy(_PerAnchor):
    """Share of the negatives that are farther than the positive; a tie counts half, so a collapsed
    model scores 0.5.

    Args:
        name: str. Defaults to `"triplet_accuracy"`.

    Call arguments:
        y_true: not looked at.
        y_pred: float tensor `[batch, 1 + negatives]`, the distances to the positive and to the
            negatives.
    """

    def __init__(self, name: str = "triplet_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negatives, exists):
        return _mean_of((tf.sign(negatives - positive) + 1) / 2, exists)


@keras.saving.register_keras_serializable(package="ctl_keras")
class ActiveTriplets(_PerAnchor):
    """Share of triplets with a loss above zero: `d(positive) + margin > d(negative)`. Call
    arguments: see `TripletAccuracy`.

    Args:
        margin: float. Of the loss. Defaults to 0.2.
        name: str. Defaults to `"active_triplets"`.

    Raises:
        ValueError: the margin is not positive.
    """

    def __init__(self, margin: float = 0.2, name: str = "active_triplets", **kwargs):
        super().__init__(name=name, **kwargs)
        if not margin > 0:
            raise ValueError(f"`margin` must be positive. Received: margin={margin}")
        self.margin = margin

    def value(self, positive, negatives, exists):
        return _mean_of(positive - negatives + self.margin > 0, exists)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="ctl_keras")
class PositiveDistance(keras.metrics.Mean):
    """Mean distance to the positives. Call arguments: see `TripletAccuracy`.

    Args:
        name: str. Defaults to `"positive_distance"`.
    """

    def __init__(self, name: str = "positive_distance", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_pred[:, 0], sample_weight)


@keras.saving.register_keras_serializable(package="ctl_keras")
class NegativeDistance(_PerAnchor):
    """Mean distance to the negatives. Call arguments: see `TripletAccuracy`.

    Args:
        name: str. Defaults to `"negative_distance"`.
    """

    def __init__(self, name: str = "negative_distance", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negatives, exists):
        return _mean_of(negatives, exists)


@keras.saving.register_keras_serializable(package="ctl_keras")
class DistanceSpread(_PerAnchor):
    """Standard deviation of the distances of an anchor, averaged over anchors: near zero when the
    model has collapsed, as all products are equally far then. Call arguments: see
    `TripletAccuracy`.

    Args:
        name: str. Defaults to `"distance_spread"`.
    """

    def __init__(self, name: str = "distance_spread", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negatives, exists):
        distances = tf.concat([positive, negatives], axis=1)
        exists = tf.concat([tf.ones_like(exists[:, :1]), exists], axis=1)
        mean = _mean_of(distances, exists)[:, None]
        return tf.sqrt(_mean_of(tf.square(distances - mean), exists))


@keras.saving.register_keras_serializable(package="ctl_keras")
class HitAtK(_PerAnchor):
    """Share of anchors whose positive is among the k nearest of positive and negatives. Call
    arguments: see `TripletAccuracy`.

    Args:
        k: int. Defaults to 1.
        name: str. Defaults to `"hit_at_<k>"`.

    Raises:
        ValueError: k is not positive.
    """

    def __init__(self, k: int = 1, name: str | None = None, **kwargs):
        super().__init__(name=name or f"hit_at_{k}", **kwargs)
        if k < 1:
            raise ValueError(f"`k` must be positive. Received: k={k}")
        self.k = k

    def value(self, positive, negatives, exists):
        return tf.cast(_rank(positive, negatives) <= self.k, tf.float32)

    def get_config(self):
        return {**super().get_config(), "k": self.k}


@keras.saving.register_keras_serializable(package="ctl_keras")
class MeanReciprocalRank(_PerAnchor):
    """Mean of 1 / rank of the positive among positive and negatives. Call arguments: see
    `TripletAccuracy`.

    Args:
        name: str. Defaults to `"mrr"`.
    """

    def __init__(self, name: str = "mrr", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negatives, exists):
        return 1 / _rank(positive, negatives)

"""What a triplet training should watch: a collapse shows in all of them at a glance."""

import keras
import tensorflow as tf


class _TripletMean(keras.metrics.Mean):
    """The mean, over anchors, of `value(distance to the positive, distance to the negative)`."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = tf.cast(y_pred, tf.float32)
        return super().update_state(self.value(y_pred[:, 0], y_pred[:, 1]), sample_weight)

    def value(self, positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="ctl_keras")
class TripletAccuracy(_TripletMean):
    """Share of anchors whose positive is nearer than the negative; a tie counts half, so a collapsed model scores 0.5.

    Args:
        name: str. Defaults to `"triplet_accuracy"`.

    Call arguments:
        y_true: not looked at.
        y_pred: float tensor `[batch, 2]`, the distances to the positive and to the negative.
    """

    def __init__(self, name: str = "triplet_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negative):
        return (tf.sign(negative - positive) + 1) / 2


@keras.saving.register_keras_serializable(package="ctl_keras")
class ActiveTriplets(_TripletMean):
    """Share of anchors with a loss above zero: `d(positive) + margin > d(negative)`. Call arguments: see `TripletAccuracy`.

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

    def value(self, positive, negative):
        return tf.cast(positive - negative + self.margin > 0, tf.float32)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="ctl_keras")
class PositiveDistance(_TripletMean):
    """Mean distance to the positives. Call arguments: see `TripletAccuracy`.

    Args:
        name: str. Defaults to `"positive_distance"`.
    """

    def __init__(self, name: str = "positive_distance", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negative):
        return positive


@keras.saving.register_keras_serializable(package="ctl_keras")
class NegativeDistance(_TripletMean):
    """Mean distance to the negatives. Call arguments: see `TripletAccuracy`.

    Args:
        name: str. Defaults to `"negative_distance"`.
    """

    def __init__(self, name: str = "negative_distance", **kwargs):
        super().__init__(name=name, **kwargs)

    def value(self, positive, negative):
        return negative

import keras
import tensorflow as tf

from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class TripletLoss(keras.losses.Loss):
    """Triplet loss with a margin: `max(0, d(scene, positive) - d(scene, negative) + margin)`.

    Args:
        margin: float. Defaults to 0.2.

    Call arguments:
        y_true: not looked at; Keras wants it.
        y_pred: float tensor `[batch, 2]`, the distances to the positive and to the negative.

    Returns:
        One value per anchor, float32 `[batch]`, before Keras's reduction. A loss that stays at the margin means that the
        model has collapsed: all its distances are equal.

    Raises:
        ValueError: the margin is not positive.

    Reference:
        Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.3.
    """

    def __init__(self, margin: float = 0.2, name: str = "triplet_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if not margin > 0:
            raise ValueError(f"`margin` must be positive. Received: margin={margin}")
        self.margin = margin

    def call(self, y_true, y_pred):
        y_pred = tf.cast(y_pred, at_least_float32(y_pred.dtype))
        return tf.nn.relu(y_pred[:, 0] - y_pred[:, 1] + self.margin)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}

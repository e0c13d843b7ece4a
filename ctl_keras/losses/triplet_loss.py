import keras
import tensorflow as tf

from ctl_keras.config import MINERS, REDUCERS
from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class TripletLoss(keras.losses.Loss):
    """Triplet loss with a margin: `max(0, d(scene, positive) - d(scene, negative) + margin)`.

    Args:
        margin: float. Defaults to 0.2.
        miner: which negatives count. `"all"`; `"hard"`, the nearest; or `"semi_hard"`, the nearest
            that is farther than the positive, and where none is, the farthest. Defaults to `"all"`.
        reducer: `"mean"` of each anchor's triplets, or `"mean_of_active"`: the mean over the
            batch's triplets with a loss above zero, so that the many that are learned already do
            not dilute it. Defaults to `"mean"`.
        soft: bool. `log(1 + exp(d(scene, positive) - d(scene, negative)))` in place of the margin,
            which never quite vanishes. Defaults to False.

    Call arguments:
        y_true: not looked at; Keras wants it.
        y_pred: float tensor `[batch, 1 + negatives]`, the distances to the positive and to the
            negatives; an infinite one is no negative.

    Returns:
        One value per anchor, float32 `[batch]`, before Keras's reduction; 0 for an anchor without a
        negative. A loss that stays at the margin means that the model has collapsed: all its
        distances are equal.

    Raises:
        ValueError: the margin is not positive, or there is no such miner or reducer.

    Reference:
        Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.3; semi-hard: Schroff et al., FaceNet,
        CVPR 2015 (arXiv 1503.03832); hard, soft margin, mean of active: Hermans et al., 2017 (arXiv
        1703.07737).
    """

    def __init__(
        self,
        margin: float = 0.2,
        miner: str = "all",
        reducer: str = "mean",
        soft: bool = False,
        name: str = "triplet_loss",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not margin > 0:
            raise ValueError(f"`margin` must be positive. Received: margin={margin}")
        for argument, value, known in (("miner", miner, MINERS), ("reducer", reducer, REDUCERS)):
            if value not in known:
                raise ValueError(
                    f"`{argument}` must be one of {', '.join(known)}. Received: "
                    f"{argument}={value!r}"
                )
        self.margin, self.miner, self.reducer, self.soft = margin, miner, reducer, soft

    def call(self, y_true, y_pred):
        y_pred = tf.cast(y_pred, at_least_float32(y_pred.dtype))
        positive, negatives = y_pred[:, :1], y_pred[:, 1:]
        if self.miner != "all":
            negatives = self._mined(positive, negatives)
        exists = ~tf.math.is_inf(negatives)  # NaN exists, and makes the loss NaN
        # an infinite distance behind the `where` would give NaN gradients
        difference = positive - tf.where(exists, negatives, tf.zeros_like(negatives))
        losses = tf.math.softplus(difference) if self.soft else tf.nn.relu(difference + self.margin)
        losses = tf.where(exists, losses, tf.zeros_like(losses))
        if self.reducer == "mean":
            return tf.reduce_sum(losses, axis=1) / tf.maximum(
                _count(exists, losses.dtype, axis=1), 1
            )
        # summed over the anchors, as Keras will, and divided by their number it is the mean over
        # the batch's active triplets
        active = tf.maximum(_count(losses > 0, losses.dtype), 1)
        return tf.reduce_sum(losses, axis=1) * tf.cast(tf.shape(losses)[0], losses.dtype) / active

    def _mined(self, positive: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
        nearest = tf.reduce_min(negatives, axis=1, keepdims=True)
        if self.miner == "hard":
            return nearest
        infinity = tf.constant(float("inf"), negatives.dtype)
        farther = tf.reduce_min(
            tf.where(negatives > positive, negatives, infinity), axis=1, keepdims=True
        )
        farthest = tf.reduce_max(
            tf.where(tf.math.is_inf(negatives), -infinity, negatives), axis=1, keepdims=True
        )
        # -infinity: there is no negative at all
        return tf.where(tf.math.is_inf(farther), farthest, farther)

    def get_config(self):
        own = {
            "margin": self.margin,
            "miner": self.miner,
            "reducer": self.reducer,
            "soft": self.soft,
        }
        return {**super().get_config(), **own}


def _count(mask: tf.Tensor, dtype: tf.DType, axis: int | None = None) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, dtype), axis=axis)

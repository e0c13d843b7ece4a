import keras
import tensorflow as tf

from ctl_keras.layers.counted_dropout import CountedDropout
from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class StyleProjection(keras.layers.Layer):
    """Projects features into the style space: Linear - BatchNorm - ReLU - Dropout - Linear - L2
    normalisation.

    The model has three of them: one for the global features of scenes and products alike, one for
    the regions, and one for the attention's view of the regions.

    Args:
        dim: int. Size of the embedding. Defaults to 128.
        hidden: int. Width of the hidden layer. Defaults to 512.
        dropout: float. Rate after the hidden layer. Defaults to 0.3.

    Call arguments:
        inputs: float tensor `[..., channels]`. BatchNorm's statistics are over all leading axes;
            give scenes and products in one call, so that training normalises both by the same
            mixture as inference does.
        training: bool.

    Returns:
        float32 tensor `[..., dim]` (float64 for a float64 layer) of unit vectors.

    Raises:
        ValueError: `dim` or `hidden` is not positive, or `dropout` is not in 0..1.

    Reference:
        Kang et al., Complete the Look, CVPR 2019 (arXiv 1812.01748), section 4.
    """

    def __init__(self, dim: int = 128, hidden: int = 512, dropout: float = 0.3, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("dim", dim), ("hidden", hidden)):
            if value < 1:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
        if not 0 <= dropout < 1:
            raise ValueError(
                f"`dropout` must be at least 0 and below 1. Received: dropout={dropout}"
            )
        self.dim, self.hidden, self.dropout = dim, hidden, dropout
        policy = kwargs.get("dtype")
        self.steps = [
            keras.layers.Dense(hidden, dtype=policy, name="hidden"),
            # the default momentum of 0.99 needs some 500 steps, more than a small data set's first
            # epochs have
            keras.layers.BatchNormalization(
                momentum=0.9, synchronized=True, dtype=policy, name="norm"
            ),
            keras.layers.ReLU(dtype=policy, name="relu"),
            CountedDropout(dropout, dtype=policy, name="dropout"),
            keras.layers.Dense(dim, dtype=policy, name="embedding"),
        ]

    def build(self, input_shape):
        channels = input_shape[-1]
        for step in self.steps:
            step.build((None, channels))
            if isinstance(step, keras.layers.Dense):
                channels = step.units
        super().build(input_shape)

    def call(self, inputs, training=None):
        x = tf.reshape(inputs, [-1, inputs.shape[-1]])
        for step in self.steps:
            takes_training = isinstance(step, keras.layers.BatchNormalization | CountedDropout)
            x = step(x, training=training) if takes_training else step(x)
        x = tf.math.l2_normalize(tf.cast(x, at_least_float32(x.dtype)), axis=-1)
        x = tf.reshape(x, tf.concat([tf.shape(inputs)[:-1], [self.dim]], 0))
        return tf.ensure_shape(x, self.compute_output_shape(inputs.shape))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "dim": self.dim,
            "hidden": self.hidden,
            "dropout": self.dropout,
        }

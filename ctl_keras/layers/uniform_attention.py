import keras
import tensorflow as tf

from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class UniformAttention(keras.layers.Layer):
    """The same weight for each region: the ablation that shows what attention is worth.

    Call arguments:
        regions: float tensor `[batch, regions, dim]`.

    Returns:
        float32 `[batch, regions]`, each `1 / regions`.

    Reference:
        The comparison with attention of Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.2.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, regions):
        ones = tf.ones(tf.shape(regions)[:2], at_least_float32(self.compute_dtype))
        return ones / tf.cast(tf.shape(regions)[1], ones.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[:2])

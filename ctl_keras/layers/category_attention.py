import keras
import tensorflow as tf

from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class CategoryAttention(keras.layers.Layer):
    """How much each region of the scene counts: softmax over the regions of `-||region - key||^2 /
    temperature`.

    The key is a learned unit vector per category (the paper), or, with `categories=None`, the
    embedding of the product itself (the article). Always computed in float32 or better.

    Args:
        categories: int or None. Number of categories. None compares with the keys that it is given.
        temperature: float. Divides the logits. All vectors have unit length, so at 1 the largest
            weight is at most e^4 times the smallest. Defaults to 1.

    Call arguments:
        regions: float tensor `[batch, regions, dim]` of unit vectors.
        keys: int tensor `[batch]`, the category; or float tensor `[batch, products, dim]` of unit
            vectors (or `[1, products, dim]`, the same for all scenes).

    Returns:
        Weights that add up to 1 over the regions: `[batch, regions]`, or `[batch, products,
            regions]`.

    Raises:
        ValueError: `categories` or `temperature` is not positive.

    Reference:
        Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.2.
    """

    def __init__(self, categories: int | None = None, temperature: float = 1.0, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if categories is not None and categories < 1:
            raise ValueError(f"`categories` must be positive. Received: categories={categories}")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be positive. Received: temperature={temperature}")
        self.categories, self.temperature = categories, temperature

    def build(self, regions_shape, keys_shape=None):
        if self.categories is not None:
            # random, as zeros would stay where they are: the gradient of normalising zero is zero
            self.vectors = self.add_weight(
                name="vectors",
                shape=(self.categories, regions_shape[-1]),
                initializer="random_normal",
                trainable=True,
            )
        self.built = True

    def call(self, regions, keys):
        dtype = at_least_float32(self.compute_dtype)
        regions = tf.cast(regions, dtype)
        if self.categories is not None:
            vectors = tf.math.l2_normalize(tf.cast(self.vectors, dtype), axis=-1)
            keys = tf.gather(vectors, tf.cast(keys, tf.int32))[:, None, :]
        keys = tf.cast(keys, dtype)
        squared_norms = (
            tf.reduce_sum(tf.square(regions), -1)[:, None, :]
            + tf.reduce_sum(tf.square(keys), -1)[:, :, None]
        )
        distances = squared_norms - 2 * tf.matmul(keys, regions, transpose_b=True)
        weights = tf.nn.softmax(-distances / self.temperature, axis=-1)
        return weights if self.categories is None else weights[:, 0]

    def compute_output_shape(self, regions_shape, keys_shape):
        if self.categories is None:
            return (regions_shape[0], keys_shape[1], regions_shape[1])
        return (regions_shape[0], regions_shape[1])

    def get_config(self):
        return {
            **super().get_config(),
            "categories": self.categories,
            "temperature": self.temperature,
        }

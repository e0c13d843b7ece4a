import keras
import tensorflow as tf

from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class QueryDistance(keras.layers.Layer):
    """The hybrid distance by its identity, `2 - query . product`: one matrix product from all
    scenes to all products.

    Call arguments:
        query: float tensor `[batch, dim]`, from `SceneQuery`.
        products: float tensor `[products, dim]` of unit vectors.

    Returns:
        float32 (float64 for a float64 layer) `[batch, products]`.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, query, products):
        dtype = at_least_float32(self.compute_dtype)
        return 2 - tf.matmul(tf.cast(query, dtype), tf.cast(products, dtype), transpose_b=True)

    def compute_output_shape(self, query_shape, products_shape):
        return (query_shape[0], products_shape[0])

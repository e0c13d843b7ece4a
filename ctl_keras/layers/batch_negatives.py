import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="ctl_keras")
class BatchNegatives(keras.layers.Layer):
    """Sorts the distances from each scene to all products of the batch into its positive and its
    negatives.

    A product is a negative of a scene if it is of the scene's category and no positive of the
    scene.

    Call arguments:
        distances: float tensor `[batch, products]`; the batch's own products may be followed by
            others, and with several replicas each finds its own at `first_own`.
        category: int tensor `[batch]`.
        positives: int tensor `[batch, most]`, ids of all positives of the scene, filled with -1.
        product_category: int tensor `[products]`; -1 where there is no product.
        product_id: int tensor `[products]`.
        first_own: int scalar tensor, or None for 0. Column of the first scene's own product; the
            others follow.

    Returns:
        `[batch, 1 + products]`: the distance to the own product, then the distance to each product,
        infinite where it is no negative. What `TripletLoss` and the metrics take.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, distances, category, positives, product_category, product_id, first_own=None):
        own = tf.range(tf.shape(distances)[0]) + (0 if first_own is None else first_own)
        positive = tf.gather(distances, own[:, None], batch_dims=1)
        is_positive = tf.reduce_any(
            tf.equal(positives[:, :, None], product_id[None, None, :]), axis=1
        )
        is_negative = tf.equal(category[:, None], product_category[None, :]) & ~is_positive
        infinity = tf.constant(float("inf"), distances.dtype)
        return tf.concat([positive, tf.where(is_negative, distances, infinity)], axis=1)

    def compute_output_shape(self, distances_shape, *other_shapes):
        products = distances_shape[1]
        return (distances_shape[0], None if products is None else 1 + products)

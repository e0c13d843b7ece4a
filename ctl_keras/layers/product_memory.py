import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="ctl_keras")
class ProductMemory(keras.layers.Layer):
    """Appends the product embeddings of the last batches to the current one's: a cross-batch
    memory.

    A ring of variables holds them, without gradient. In inference it is neither read nor written.

    Args:
        size: int. Embeddings that are kept.

    Call arguments:
        embeddings: float tensor `[batch, dim]`.
        category: int32 tensor `[batch]`.
        product_id: int64 tensor `[batch]`.
        training: bool.

    Returns:
        The same three with the memory's rows behind the batch's: `[batch + size, dim]`, `[batch +
        size]` (category -1 where the memory is not filled yet), `[batch + size]`.

    Raises:
        ValueError: the size is not positive.

    Reference:
        Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020 (arXiv 1912.06798).
    """

    def __init__(self, size: int, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if size < 1:
            raise ValueError(f"`size` must be positive. Received: size={size}")
        self.size = size

    def build(self, embeddings_shape, *other_shapes):
        def add(name, shape, dtype, initializer="zeros"):
            return self.add_weight(
                name=name, shape=shape, dtype=dtype, initializer=initializer, trainable=False
            )

        self.embeddings = add("embeddings", (self.size, embeddings_shape[-1]), "float32")
        self.categories = add("categories", (self.size,), "int32", keras.initializers.Constant(-1))
        self.ids = add("ids", (self.size,), "int64", keras.initializers.Constant(-1))
        self.next = add("next", (), "int64")
        self.built = True

    def call(self, embeddings, category, product_id, training=None):
        if not training:
            return embeddings, category, product_id
        kept = [
            tf.identity(tf.convert_to_tensor(x))
            for x in (self.embeddings, self.categories, self.ids)
        ]
        current = (embeddings, tf.cast(category, tf.int32), tf.cast(product_id, tf.int64))
        joined = tuple(
            tf.concat([new, tf.cast(tf.stop_gradient(old), new.dtype)], axis=0)
            for new, old in zip(current, kept, strict=True)
        )
        newest = tuple(new[-self.size :] for new in current)
        count = tf.shape(newest[0], tf.int64)[0]
        position = tf.convert_to_tensor(self.next)
        places = ((position + tf.range(count)) % self.size)[:, None]
        for variable, old, new in zip(
            (self.embeddings, self.categories, self.ids), kept, newest, strict=True
        ):
            variable.assign(
                tf.tensor_scatter_nd_update(old, places, tf.cast(tf.stop_gradient(new), old.dtype))
            )
        self.next.assign((position + count) % self.size)
        return joined

    def compute_output_shape(self, embeddings_shape, category_shape, product_id_shape):
        return (None, embeddings_shape[-1]), (None,), (None,)

    def get_config(self):
        return {**super().get_config(), "size": self.size}

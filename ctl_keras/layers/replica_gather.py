import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="ctl_keras")
class ReplicaGather(keras.layers.Layer):
    """Joins the rows of all replicas of a `tf.distribute` strategy, so that each scene meets the
    products of all.

    Gradients flow back to the replica that a row came from. Outside of a strategy, and with one
    replica, it changes nothing. All replicas must have the same number of rows.

    Call arguments:
        embeddings: float tensor `[batch, dim]`.
        category: int tensor `[batch]`.
        product_id: int tensor `[batch]`.

    Returns:
        The three with the rows of all replicas, in the replicas' order, and an int32 scalar, the
        first row that is the replica's own.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, embeddings, category, product_id):
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync if context is not None else 1
        if replicas == 1:
            return embeddings, category, product_id, tf.constant(0)
        rank = tf.cast(context.replica_id_in_sync_group, tf.int32)

        def joined(x: tf.Tensor) -> tf.Tensor:
            # each replica puts its rows in its own place of zeros; the sum's gradient is the sum of
            # all replicas' gradients, which is what a row that all of them have used should get
            place = tf.one_hot(rank, replicas, dtype=x.dtype)
            placed = tf.reshape(place, [replicas] + [1] * x.shape.rank) * x[None]
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, placed)
            return tf.reshape(total, tf.concat([[replicas * tf.shape(x)[0]], tf.shape(x)[1:]], 0))

        return (
            joined(embeddings),
            joined(category),
            joined(product_id),
            rank * tf.shape(embeddings)[0],
        )

    def compute_output_shape(self, embeddings_shape, category_shape, product_id_shape):
        return (None, embeddings_shape[-1]), (None,), (None,), ()

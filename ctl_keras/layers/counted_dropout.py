import keras
import tensorflow as tf

_LARGEST = 2**31 - 1


@keras.saving.register_keras_serializable(package="ctl_keras")
class CountedDropout(keras.layers.Layer):
    """Dropout whose mask is a function of a seed and of a counter that is saved with the weights.

    So a resumed training draws the masks that an undisturbed one would have drawn. Keras 2's
    `Dropout` keeps its random state outside of the model, Keras 3's where a file of weights does
    not reach it.

    Args:
        rate: float, at least 0 and below 1. Share of the values that become zero.
        seed: int or None. Defaults to None: drawn from TensorFlow's global generator when the layer
            is built, so `keras.utils.set_random_seed` decides.

    Call arguments:
        inputs: float tensor of any shape.
        training: bool.

    Returns:
        Tensor of the same shape and dtype; in training scaled by `1 / (1 - rate)`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be at least 0 and below 1. Received: rate={rate}")
        self.rate, self.seed = rate, seed

    def build(self, input_shape):
        def add(name, start):
            initializer = keras.initializers.Constant(start)
            return self.add_weight(
                name=name, shape=(), dtype="int64", initializer=initializer, trainable=False
            )

        drawn = (
            int(tf.random.uniform([], maxval=_LARGEST, dtype=tf.int32))
            if self.seed is None
            else self.seed
        )
        self.start, self.calls = add("start", drawn), add("calls", 0)
        self.built = True

    def call(self, inputs, training=None):
        if not training or not self.rate:
            return inputs
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context is not None else 0
        calls = tf.convert_to_tensor(self.calls)
        # the multiplier keeps the replicas' sequences apart
        seed = tf.stack(
            [tf.convert_to_tensor(self.start), calls * 4096 + tf.cast(replica, tf.int64)]
        )
        kept = tf.random.stateless_uniform(tf.shape(inputs), seed) >= self.rate
        self.calls.assign(calls + 1)
        return tf.where(kept, inputs / (1 - self.rate), tf.zeros_like(inputs))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}

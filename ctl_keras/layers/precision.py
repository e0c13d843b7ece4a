"""What must not be computed in half precision."""

import tensorflow as tf


def at_least_float32(dtype: object) -> tf.DType:
    """float32 for the half types, the type itself otherwise: norms, softmax and distances are not
    safe in half precision."""
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32

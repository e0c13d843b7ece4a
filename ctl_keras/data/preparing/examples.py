"""`tf.train.Example`s of plain values."""

from typing import Any

import numpy as np
import tensorflow as tf


def example(**values: Any) -> bytes:
    """A serialised example, the same bytes for the same values.

    Args:
        **values: int, float array, bytes or str (UTF-8) by feature name.
    """

    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        if isinstance(value, np.ndarray):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        data = value if isinstance(value, bytes) else str(value).encode()
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))

    features = tf.train.Features(feature={key: feature(value) for key, value in values.items()})
    return tf.train.Example(features=features).SerializeToString(deterministic=True)

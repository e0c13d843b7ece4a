"""What differs between Keras 3 and Keras 2."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

IS_KERAS_3 = not keras.__version__.startswith("2.")


def value_of(variable: Any) -> np.ndarray:
    """A Keras or TensorFlow variable's value."""
    return np.asarray(tf.convert_to_tensor(variable))

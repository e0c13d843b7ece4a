"""What differs between Keras 3 and Keras 2."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

IS_KERAS_3 = not keras.__version__.startswith("2.")


def tf_variables(*models: keras.Model) -> list[tf.Variable]:
    """The models' weights as TensorFlow variables, each once; Keras 3 wraps them in variables of its own."""
    unique = {}
    for model in models:
        for weight in model.weights:
            variable = weight if isinstance(weight, tf.Variable) else weight.value
            unique[id(variable)] = variable
    return list(unique.values())


def value_of(variable: Any) -> np.ndarray:
    """A Keras or TensorFlow variable's value."""
    return np.asarray(tf.convert_to_tensor(variable))

"""What differs between Keras 3 and Keras 2."""

import keras
import tensorflow as tf


def tf_variables(*models: keras.Model) -> list[tf.Variable]:
    """The models' weights as TensorFlow variables, each once; Keras 3 wraps them in variables of its own."""
    unique = {}
    for model in models:
        for weight in model.weights:
            variable = weight if isinstance(weight, tf.Variable) else weight.value
            unique[id(variable)] = variable
    return list(unique.values())

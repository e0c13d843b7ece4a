"""What every layer has to keep: its config, its shapes, and full precision under a mixed policy."""

import keras
import numpy as np
import tensorflow as tf


def check_layer(layer: keras.layers.Layer, *inputs: np.ndarray, bounded: float = 0.02) -> None:
    """Round trip through the config, declared against real shapes, gradients, and bfloat16 against
    float32."""
    outputs = tf.nest.flatten(layer(*inputs))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    again(*inputs)
    again.set_weights(layer.get_weights())
    for first, second in zip(outputs, tf.nest.flatten(again(*inputs)), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)

    # Keras 2 takes the shapes of several inputs as one list in its own calls; ours are always given
    # one by one
    declared = layer.compute_output_shape(*[x.shape for x in inputs])
    shapes = list(declared.values()) if isinstance(declared, dict) else [declared]
    assert [tuple(shape) for shape in shapes] == [tuple(output.shape) for output in outputs]

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = type(layer).from_config(
            {k: v for k, v in layer.get_config().items() if k != "dtype"}
        )
        mixed(*inputs)
        mixed.set_weights(layer.get_weights())
        for full, half in zip(outputs, tf.nest.flatten(mixed(*inputs)), strict=True):
            assert np.isfinite(tf.cast(half, tf.float32)).all()
            np.testing.assert_allclose(tf.cast(half, tf.float32), full, atol=bounded)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def unit_vectors(random: np.random.Generator, *shape: int, dtype: str = "float64") -> np.ndarray:
    values = random.normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(dtype)

import keras
import numpy as np
import pytest
import tensorflow as tf

from ctl_keras import StyleProjection
from tests.layers.layer_checks import check_layer


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(6, 5, 8)).astype("float32")


def test_inference_equals_plain_numpy(features):
    layer = StyleProjection(dim=4, hidden=32)
    layer(features, training=True)  # moves BatchNorm's statistics away from their initialisation
    (kernel, bias), (gamma, beta, mean, variance), (out_kernel, out_bias) = (
        layer.steps[i].get_weights() for i in (0, 1, 4)
    )
    hidden = (features @ kernel + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    expected = np.maximum(hidden, 0) @ out_kernel + out_bias
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(layer(features), expected, atol=1e-5)


def test_unit_length_and_float32_in_half_precision(features):
    outputs = StyleProjection(dim=4, hidden=32, dtype="mixed_bfloat16")(features)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=-1), 1, atol=1e-6)


def test_takes_any_leading_axes_alike(features):
    layer = StyleProjection(dim=4, hidden=32)
    np.testing.assert_allclose(layer(features)[2, 3], layer(features[2, 3][None])[0], atol=1e-6)


def test_zero_features_give_finite_embeddings():
    layer = StyleProjection(dim=4, hidden=32)
    assert np.isfinite(layer(np.zeros((2, 8), np.float32))).all()


def test_layer_manners(features):
    check_layer(StyleProjection(dim=4, hidden=32, dropout=0.1), features, bounded=0.1)


@pytest.mark.parametrize(("name", "value"), [("dim", 0), ("hidden", -1), ("dropout", 1.0)])
def test_wrong_arguments(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}={value}"):
        StyleProjection(**{name: value})

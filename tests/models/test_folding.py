import keras
import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.models.folding import FoldedTrunk, can_fold


def network(name, size=64):
    """With BatchNorm statistics and affine maps that are far from the identity."""
    made = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    random = np.random.default_rng(0)
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [random.uniform(0.6, 1.4, weight.shape) for weight in layer.get_weights()]
            )
    return made


@pytest.fixture
def images():
    return tf.constant(np.random.default_rng(1).normal(size=(2, 64, 64, 3)), tf.float32)


@pytest.mark.parametrize(
    ("name", "folds"),
    [("ResNet50", 53), ("ResNet50V2", 32), ("MobileNet", 14), ("DenseNet121", 59), ("VGG16", 0)],
)
def test_equals_the_network_in_inference_mode(name, folds, images):
    made = network(name)
    folded = FoldedTrunk(made)
    assert folded.folds == folds
    expected = made(images, training=False).numpy()
    np.testing.assert_allclose(
        folded(images)[0].numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_gradients_are_those_of_the_network(images):
    made = network("MobileNet")
    folded = FoldedTrunk(made)

    def gradients(run):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(run()))
        return tape.gradient(loss, variables)

    variables = [
        weight if isinstance(weight, tf.Variable) else weight.value
        for weight in made.trainable_weights
    ]
    pairs = zip(
        gradients(lambda: folded(images)[0]),
        gradients(lambda: made(images, training=False)),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3 * max(np.abs(other).max(), 1e-6))


def test_a_convolution_that_is_a_tap_stays_as_it_is(images):
    made = network("ResNet50")
    taps = keras.Model(made.input, [made.output, made.get_layer("conv4_block6_3_conv").output])
    for one, other in zip(FoldedTrunk(taps)(images), taps(images, training=False), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_networks_with_calls_that_the_graph_does_not_tell_are_left_alone():
    made = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    assert not can_fold(made)
    with pytest.raises(ValueError, match="cannot be called one by one"):
        FoldedTrunk(made)
    pooled, _ = ctl.Backbone("MobileNetV3Small", 64)(np.zeros((1, 64, 64, 3), "float32"))
    assert np.isfinite(pooled).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, images):
    made = network("ResNet50V2")
    keras.mixed_precision.set_global_policy(policy)
    try:
        half = network("ResNet50V2")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    half.set_weights(made.get_weights())
    folded = FoldedTrunk(half)(images)[0]
    assert folded.dtype == half.compute_dtype
    expected = made(images, training=False)
    np.testing.assert_allclose(
        tf.cast(folded, tf.float32), expected, rtol=0, atol=0.05 * np.abs(expected).max()
    )


def test_the_backbone_folds_in_inference_mode_only(images):
    frozen, trained = ctl.Backbone("ResNet50", 64), ctl.Backbone("ResNet50", 64, inference=False)
    trained.set_weights(frozen.get_weights())
    folded = tf.function(lambda x: frozen(x)[0]).get_concrete_function(images)
    with frozen.running(None):
        plain = tf.function(lambda x: frozen(x)[0]).get_concrete_function(images)
    expected = plain(images)
    np.testing.assert_allclose(folded(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    norms = [
        sum("BatchNorm" in op.type for op in each.graph.get_operations())
        for each in (folded, plain)
    ]
    assert norms[0] == 0
    before = [np.copy(weight) for weight in trained.get_weights()]
    trained(images, training=True)
    assert any(
        (one != other).any() for one, other in zip(before, trained.get_weights(), strict=True)
    )

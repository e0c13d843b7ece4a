import dataclasses

import keras
import numpy as np
import pytest

from ctl_keras.compat import IS_KERAS_3
from ctl_keras.config import TrainingConfig
from ctl_keras.errors import InputError
from ctl_keras.training.optimizers import make_optimizer


def variables():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    for variable in layer.weights:
        variable.assign(np.ones(variable.shape, "float32"))
    return layer.trainable_variables


def make(steps=100, **settings):
    trained = variables()
    return (
        make_optimizer(dataclasses.replace(TrainingConfig(), **settings), 0.1, steps, trained),
        trained,
    )


def schedule(**settings):
    optimizer, _ = make(**settings)
    return optimizer.get_config()["learning_rate"]["config"]


def test_decay_spares_biases_and_norms():
    for name in ("Adam", "SGD", "AdamW"):
        optimizer, trained = make(optimizer=name, weight_decay=0.5)
        optimizer.apply_gradients(
            [(np.zeros(variable.shape, "float32"), variable) for variable in trained]
        )
        kernel, bias = (np.asarray(variable) for variable in trained)
        np.testing.assert_allclose(kernel, 1 - 0.1 * 0.5, rtol=1e-5)
        np.testing.assert_array_equal(bias, 1)


def test_cosine_with_warm_up():
    config = schedule(schedule="cosine", warmup_steps=10)
    made = keras.optimizers.schedules.CosineDecay.from_config(config)
    values = [float(made(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(values, [0, 0.05, 0.1, 0.05, 0], atol=1e-6)
    constant = keras.optimizers.schedules.CosineDecay.from_config(schedule(warmup_steps=10))
    np.testing.assert_allclose(
        [float(constant(step)) for step in (5, 10, 60, 200)], [0.05, 0.1, 0.1, 0.1], atol=1e-6
    )


def test_accumulated_gradients_are_averaged():
    if not IS_KERAS_3:
        with pytest.raises(InputError, match="`training.accumulate` needs Keras 3"):
            make(accumulate=2)
        return
    optimizer, trained = make(optimizer="SGD", accumulate=2)
    for gradient in (1.0, 3.0):
        optimizer.apply_gradients(
            [(np.full(variable.shape, gradient, "float32"), variable) for variable in trained]
        )
    np.testing.assert_allclose(np.asarray(trained[0]), 1 - 0.1 * 2, rtol=1e-5)


def test_names():
    with pytest.raises(
        InputError,
        match=r"There is no optimizer `Adamm` in keras.optimizers .* Did you mean Adam\w*\?",
    ):
        make(optimizer="Adamm")
    with pytest.raises(
        InputError,
        match="`training.warmup_steps` must be below the 100 steps of a stage. Received: 100",
    ):
        make(warmup_steps=100)


def test_tensorflow_addons():
    if IS_KERAS_3:
        with pytest.raises(
            InputError,
            match=r"`training.optimizer=tfa:LAMB` needs TensorFlow Addons, which works with",
        ):
            make(optimizer="tfa:LAMB")
        return
    import tensorflow_addons as tfa

    optimizer, trained = make(optimizer="tfa:LAMB", weight_decay=0.5)
    assert isinstance(optimizer, tfa.optimizers.LAMB)
    optimizer.apply_gradients(
        [(np.zeros(variable.shape, "float32"), variable) for variable in trained]
    )
    kernel, bias = (np.asarray(variable) for variable in trained)
    assert (kernel < 1).all()
    np.testing.assert_array_equal(bias, 1)
    with pytest.raises(
        InputError,
        match="There is no optimizer `LAMP` in tensorflow_addons.optimizers .* Did you mean LAMB",
    ):
        make(optimizer="tfa:LAMP")
    with pytest.raises(InputError, match="`training.ema` is not known to tfa:LAMB"):
        make(optimizer="tfa:LAMB", ema=0.9)
    with pytest.raises(
        InputError, match="tfa:Yogi has no weight decay: set `training.weight_decay=0`"
    ):
        make(optimizer="tfa:Yogi", weight_decay=0.1)

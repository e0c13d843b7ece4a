import keras
import numpy as np
import pytest

from ctl_keras.layers.counted_dropout import CountedDropout

ONES = np.ones((200, 50), "float32")


def test_drops_the_share_and_keeps_the_mean():
    result = np.asarray(CountedDropout(0.3, seed=1)(ONES, training=True))
    assert set(np.unique(result).tolist()) == {0.0, np.float32(1 / 0.7)}
    assert abs((result == 0).mean() - 0.3) < 0.02
    np.testing.assert_array_equal(CountedDropout(0.3)(ONES), ONES)


def test_each_call_differs_and_the_weights_bring_the_state_back():
    layer = CountedDropout(0.5)
    first = np.asarray(layer(ONES, training=True))
    state = layer.get_weights()
    second = np.asarray(layer(ONES, training=True))
    assert (first != second).any()
    again = CountedDropout(0.5)
    again(ONES)
    again.set_weights(state)
    np.testing.assert_array_equal(again(ONES, training=True), second)


def test_the_global_seed_decides():
    def mask(seed):
        keras.utils.set_random_seed(seed)
        return np.asarray(CountedDropout(0.5)(ONES, training=True))

    np.testing.assert_array_equal(mask(3), mask(3))
    assert (mask(3) != mask(4)).any()


def test_half_precision_and_round_trip():
    layer = CountedDropout(0.5, dtype="mixed_bfloat16")
    assert layer(ONES, training=True).dtype == "bfloat16"
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(CountedDropout(0.2, seed=3))
    )
    assert (again.rate, again.seed) == (0.2, 3)
    with pytest.raises(ValueError, match="`rate` must be at least 0 and below 1. Received: rate=1"):
        CountedDropout(1)

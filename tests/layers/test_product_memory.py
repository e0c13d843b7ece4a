import keras
import numpy as np
import pytest
import tensorflow as tf

from ctl_keras.layers.product_memory import ProductMemory

RANDOM = np.random.default_rng(0)


def batches(sizes):
    number = 0
    for size in sizes:
        yield (
            RANDOM.normal(size=(size, 4)).astype("float32"),
            np.arange(number, number + size),
            np.arange(size) % 3,
        )
        number += size


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [2, 5, 1, 4], [8, 3], [5, 5]])
def test_is_a_ring_of_the_last_products(sizes):
    memory = ProductMemory(5)
    queue: list[tuple[np.ndarray, int, int]] = []
    for embeddings, ids, category in batches(sizes):
        joined, categories, joined_ids = memory(
            embeddings, category.astype("int32"), ids, training=True
        )
        np.testing.assert_array_equal(joined[: len(ids)], embeddings)
        found = {
            int(i): (c, tuple(e))
            for i, c, e in zip(
                joined_ids[len(ids) :],
                categories[len(ids) :],
                np.asarray(joined)[len(ids) :],
                strict=True,
            )
            if c >= 0
        }
        assert found == {i: (c, tuple(e)) for e, i, c in queue}
        queue = [*queue, *zip(embeddings, ids.tolist(), category.tolist(), strict=True)][-5:]


def test_is_silent_in_inference_and_without_gradient():
    memory = ProductMemory(4)
    (first, ids, category), (second, _, _) = batches([3, 3])
    memory(first, category.astype("int32"), ids, training=True)
    assert memory(second, category.astype("int32"), ids)[0].shape == (3, 4)
    assert int(memory.next) == 3
    with tf.GradientTape() as tape:
        x = tf.constant(second)
        tape.watch(x)
        joined = memory(x, category.astype("int32"), ids, training=True)[0]
        loss = tf.reduce_sum(tf.matmul(joined, joined, transpose_b=True)[3:])
    np.testing.assert_allclose(
        tape.gradient(loss, x), np.tile(first.sum(axis=0), (3, 1)), rtol=1e-5
    )


def test_round_trip_and_error():
    layer = ProductMemory(7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    with pytest.raises(ValueError, match="`size` must be positive. Received: size=0"):
        ProductMemory(0)

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctl_keras.layers.batch_negatives import BatchNegatives
from tests.layers.layer_checks import check_layer

RANDOM = np.random.default_rng(0)


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 3), st.integers(0, 99))
def test_equals_plain_loops(batch, others, before, seed):
    random = np.random.default_rng(seed)
    products = before + batch + others
    distances = random.uniform(size=(batch, products)).astype("float32")
    product_category, ids = random.integers(-1, 2, products), random.integers(0, 9, products)
    category = random.integers(0, 2, batch)
    positives = random.integers(-1, 9, (batch, 3))
    result = BatchNegatives()(
        distances, category, positives, product_category, ids, np.int32(before)
    ).numpy()
    for row in range(batch):
        assert result[row, 0] == distances[row, before + row]
        for column in range(products):
            negative = (
                product_category[column] == category[row]
                and ids[column] not in positives[row].tolist()
            )
            assert result[row, 1 + column] == (distances[row, column] if negative else np.inf)


def test_layer():
    inputs = [
        RANDOM.uniform(size=(3, 5)).astype("float32"),
        np.int32([0, 1, 0]),
        np.int64([[0, -1], [1, -1], [2, 0]]),
        np.int32([0, 1, 0, 0, 0]),
        np.int64([0, 1, 2, 3, 4]),
    ]
    layer = BatchNegatives()
    assert np.isinf(np.asarray(layer(*inputs))).any()
    # finite where no product is masked: the mixed-precision check compares numbers
    check_layer(
        layer, inputs[0], np.zeros(3, "int32"), np.full((3, 1), -1), np.zeros(5, "int32"), inputs[4]
    )

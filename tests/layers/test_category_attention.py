import math

import numpy as np
import pytest

from ctl_keras import CategoryAttention, UniformAttention
from tests.layers.layer_checks import check_layer, unit_vectors

BATCH, REGIONS, DIM, CATEGORIES, PRODUCTS = 4, 6, 5, 3, 2


def by_loops(region_vectors, key, temperature):
    logits = [
        -sum((x - y) ** 2 for x, y in zip(region, key, strict=True)) / temperature
        for region in region_vectors.tolist()
    ]
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_category_attention_equals_plain_loops(temperature):
    random = np.random.default_rng(0)
    regions, category = unit_vectors(random, BATCH, REGIONS, DIM), np.array([2, 0, 1, 2])
    layer = CategoryAttention(CATEGORIES, temperature, dtype="float64")
    weights = layer(regions, category)
    vectors = np.asarray(layer.get_weights()[0])
    for b in range(BATCH):
        vector = vectors[category[b]].tolist()
        norm = math.sqrt(sum(x * x for x in vector))
        expected = by_loops(regions[b], [x / norm for x in vector], temperature)
        np.testing.assert_allclose(weights[b], expected, rtol=0, atol=1e-12)


def test_product_attention_equals_plain_loops():
    random = np.random.default_rng(0)
    regions, products = (
        unit_vectors(random, BATCH, REGIONS, DIM),
        unit_vectors(random, BATCH, PRODUCTS, DIM),
    )
    weights = CategoryAttention(None, dtype="float64")(regions, products)
    for b in range(BATCH):
        for p in range(PRODUCTS):
            np.testing.assert_allclose(
                weights[b, p],
                by_loops(regions[b], products[b, p].tolist(), 1.0),
                rtol=0,
                atol=1e-12,
            )


def test_softmax_is_over_regions_not_over_the_batch():
    regions = unit_vectors(np.random.default_rng(0), BATCH, REGIONS, DIM, dtype="float32")
    weights = np.asarray(CategoryAttention(CATEGORIES)(regions, np.zeros(BATCH, int)))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_category_vectors_begin_different_from_zero_and_from_each_other():
    layer = CategoryAttention(CATEGORIES)
    layer.build((None, REGIONS, DIM))
    vectors = layer.get_weights()[0]
    assert np.linalg.matrix_rank(vectors) == CATEGORIES


def test_layer_manners():
    random = np.random.default_rng(0)
    regions = unit_vectors(random, BATCH, REGIONS, DIM, dtype="float32")
    check_layer(CategoryAttention(CATEGORIES, 0.5), regions, np.array([2, 0, 1, 2]))
    check_layer(
        CategoryAttention(None),
        regions,
        unit_vectors(random, BATCH, PRODUCTS, DIM, dtype="float32"),
    )
    check_layer(UniformAttention(), regions)


def test_uniform():
    weights = UniformAttention()(np.zeros((2, 5, 3), np.float32))
    np.testing.assert_allclose(weights, np.full((2, 5), 0.2), atol=1e-7)


@pytest.mark.parametrize(
    ("name", "value"), [("categories", 0), ("temperature", 0.0), ("temperature", -1.0)]
)
def test_wrong_arguments(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be positive. Received: {name}={value}"):
        CategoryAttention(**{name: value})

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ctl_keras import HybridDistance, SceneQuery
from tests.layers.layer_checks import check_layer, unit_vectors

BATCH, REGIONS, PRODUCTS, DIM = 3, 5, 4, 7


def inputs(per_product: bool, dtype="float64"):
    random = np.random.default_rng(1)
    shape = (BATCH, PRODUCTS, REGIONS) if per_product else (BATCH, REGIONS)
    attention = random.random(shape)
    return (
        unit_vectors(random, BATCH, DIM, dtype=dtype),
        unit_vectors(random, BATCH, REGIONS, DIM, dtype=dtype),
        (attention / attention.sum(-1, keepdims=True)).astype(dtype),
        unit_vectors(random, BATCH, PRODUCTS, DIM, dtype=dtype),
    )


def by_loops(kind, squared, scene, regions, attention, products):
    """The formulas of the paper, number by number."""

    def between(a, b):
        total = 0.0
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            total += (x - y) ** 2
        return total if squared else math.sqrt(total)

    result = np.zeros((BATCH, PRODUCTS))
    for b in range(BATCH):
        for p in range(PRODUCTS):
            weights = attention[b, p] if attention.ndim == 3 else attention[b]
            d_global = between(scene[b], products[b, p])
            d_local = 0.0
            for r in range(REGIONS):
                d_local += float(weights[r]) * between(regions[b, r], products[b, p])
            result[b, p] = {
                "global": d_global,
                "local": d_local,
                "hybrid": (d_global + d_local) / 2,
            }[kind]
    return result


@pytest.mark.parametrize("per_product", [False, True])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("kind", ["hybrid", "global", "local"])
def test_equals_plain_loops(kind, squared, per_product):
    values = inputs(per_product)
    distances = HybridDistance(kind, squared, dtype="float64")(*values)
    np.testing.assert_allclose(
        distances["hybrid_distance"], by_loops(kind, squared, *values), rtol=0, atol=1e-12
    )
    for part in ("global", "local"):
        np.testing.assert_allclose(
            distances[f"{part}_distance"], by_loops(part, squared, *values), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("kind", ["hybrid", "global", "local"])
def test_squared_distance_is_two_minus_the_inner_product_with_the_query(kind):
    scene, regions, attention, products = inputs(per_product=False)
    distance = HybridDistance(kind, dtype="float64")(scene, regions, attention, products)[
        "hybrid_distance"
    ]
    query = SceneQuery(kind, dtype="float64")(scene, regions, attention)
    np.testing.assert_allclose(
        distance, 2 - np.einsum("bd,bpd->bp", query, products), rtol=0, atol=1e-12
    )


def test_layer_manners():
    check_layer(HybridDistance("local", squared=False), *inputs(per_product=False, dtype="float32"))
    check_layer(SceneQuery("local"), *inputs(per_product=False, dtype="float32")[:3])


def test_is_computed_in_float32_from_half_inputs():
    layer = HybridDistance(dtype="mixed_bfloat16")
    half = [tf.cast(value, tf.bfloat16) for value in inputs(per_product=False)]
    assert layer(*half)["hybrid_distance"].dtype == tf.float32


@pytest.mark.parametrize("squared", [True, False])
def test_gradient_is_finite_where_scene_and_product_coincide(squared):
    vector = tf.Variable([[1.0, 0.0]])
    with tf.GradientTape() as tape:
        distance = HybridDistance(squared=squared)(
            vector, vector[:, None], tf.ones([1, 1]), vector[:, None]
        )
    assert np.isfinite(tape.gradient(distance["hybrid_distance"], vector)).all()


def test_largest_is_the_distance_of_opposite_vectors():
    vector = np.array([[1.0, 0.0]])
    for squared in (True, False):
        layer = HybridDistance(squared=squared)
        distance = layer(vector, vector[:, None], np.ones((1, 1)), -vector[:, None])[
            "hybrid_distance"
        ]
        assert float(distance[0, 0]) == pytest.approx(layer.largest)


def test_wrong_distance():
    with pytest.raises(
        ValueError,
        match=r"`distance` must be one of hybrid, global, local. Received: distance='cosine'",
    ):
        HybridDistance("cosine")


def test_works_in_a_functional_model():
    scene, regions = keras.Input((DIM,)), keras.Input((REGIONS, DIM))
    attention, products = keras.Input((REGIONS,)), keras.Input((PRODUCTS, DIM))
    outputs = HybridDistance()(scene, regions, attention, products)
    assert tuple(outputs["hybrid_distance"].shape) == (None, PRODUCTS)

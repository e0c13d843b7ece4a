"""Functional models that train the layers of a Complete-the-Look model in other ways than its own
triplets of pictures."""

from typing import Any

import keras

from ctl_keras.layers.batch_negatives import BatchNegatives
from ctl_keras.layers.product_memory import ProductMemory
from ctl_keras.layers.replica_gather import ReplicaGather
from ctl_keras.models.parts import Features, Parts


def triplet_trainer(parts: Parts) -> keras.Model:
    """See `CompleteTheLook.feature_trainer`."""
    inputs = _feature_inputs(parts, ("positive", "negative"))
    scene, products = parts.embed(_as_features(inputs, ("positive", "negative")))
    category = keras.Input((), dtype="int32", name="category")
    distances = parts.distances(scene, category, products)
    return keras.Model(
        {**inputs, "category": category}, distances["hybrid_distance"], name="feature_triplets"
    )


def in_batch_trainer(
    parts: Parts, image_size: int, from_features: bool, memory: int, gather: bool
) -> keras.Model:
    """See `CompleteTheLook.in_batch_trainer`."""
    if from_features:
        inputs = _feature_inputs(parts, ("product",))
        features = _as_features(inputs, ("product",))
    else:
        inputs = {
            role: keras.Input((image_size, image_size, 3), name=role)
            for role in ("scene", "product")
        }
        features = parts.features(inputs["scene"], [inputs["product"]])
    known = {
        "category": keras.Input((), dtype="int32", name="category"),
        "product_id": keras.Input((), dtype="int64", name="product_id"),
        "positives": keras.Input((None,), dtype="int64", name="positives"),
    }
    scene, products = parts.embed(features)
    candidates = [products[:, 0], known["category"], known["product_id"]]
    first_own = []
    if gather:
        *candidates, first = ReplicaGather(name="gather")(*candidates)
        first_own = [first]
    if memory:
        candidates = ProductMemory(memory, name="memory")(*candidates)
    embeddings, categories, ids = candidates
    distances = parts.all_distances(scene, known["category"], embeddings)
    output = BatchNegatives(name="negatives")(
        distances, known["category"], known["positives"], categories, ids, *first_own
    )
    return keras.Model({**inputs, **known}, output, name="in_batch")


def _feature_inputs(parts: Parts, roles: tuple[str, ...]) -> dict[str, Any]:
    pooled, local = parts.channels
    inputs = {role: keras.Input((pooled,), name=role) for role in ("scene", *roles)}
    return {**inputs, "regions": keras.Input((parts.region_count, local), name="regions")}


def _as_features(inputs: dict[str, Any], roles: tuple[str, ...]) -> Features:
    stack = [keras.layers.Reshape((1, -1))(inputs[role]) for role in ("scene", *roles)]
    return Features(keras.layers.Concatenate(axis=1)(stack), inputs["regions"])

"""What is ranked by: the model, its parts, and the baselines that it has to beat."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ctl_keras.data.batches import image_batches
from ctl_keras.data.pairs import Pairs
from ctl_keras.evaluation.colours import colour_histograms, hellinger
from ctl_keras.evaluation.ranking import Ranker
from ctl_keras.layers.scene_query import SceneQuery
from ctl_keras.layers.uniform_attention import UniformAttention
from ctl_keras.models.backbone import Backbone
from ctl_keras.models.complete_the_look import CompleteTheLook

_CHUNK = 20_000_000  # distances between regions and products that are held at a time


def all_rankers(
    model: CompleteTheLook, pairs: Pairs, batch_size: int, untrained: Backbone | None
) -> dict[str, Ranker]:
    """`model` and every baseline, by name; `pairs.category` must index the model's categories.

    Without the `untrained` backbone there is no `untrained_cosine`.
    """
    by_model = model_rankers(model, pairs, batch_size)
    rankers = {"model": by_model.pop("model"), "popularity": popularity_ranker(pairs)}
    if untrained is not None:
        rankers["untrained_cosine"] = cosine_ranker(untrained, pairs, batch_size)
    rankers["colour_histogram"] = colour_ranker(pairs)
    return rankers | by_model


def model_rankers(model: CompleteTheLook, pairs: Pairs, batch_size: int) -> dict[str, Ranker]:
    """Rank by the model's distance and by its parts; each scene and each product goes through its
    tower once for all.

    `pairs.category` must index the model's categories.

    Returns:
        `model`, and what says something beside it: for a hybrid model `global_only` (the Siamese
        net) and `local_only`; for a model with a local part and an attention, `uniform_attention`
        (its distance with equal weights of all regions).
    """
    config = model.config
    names = ["model"]
    names += ["global_only", "local_only"] if config.distance == "hybrid" else []
    names += (
        ["uniform_attention"]
        if config.distance != "global" and config.attention != "uniform"
        else []
    )
    products = _candidate_rows(pairs)
    embeddings = model.product_tower.predict(
        image_batches(pairs.images, products, None, batch_size, model.image_size), verbose=0
    )
    scenes = image_batches(pairs.images, pairs.scene, pairs.window, batch_size, model.image_size)
    categories = tf.data.Dataset.from_tensor_slices(pairs.category.astype(np.int32)).batch(
        batch_size
    )
    tower = _query_tower(model, names) if config.has_inner_product else model.scene_tower
    embedded = tower.predict(
        tf.data.Dataset.zip((scenes, categories)).map(
            lambda scene, category: ({"scene": scene, "category": category},)
        ),
        verbose=0,
    )
    rankers = (
        _inner_product_ranker
        if config.has_inner_product
        else lambda *given: _region_ranker(model, *given)
    )
    row_of = _row_lookup(pairs, products)
    return {name: rankers(name, embedded, embeddings, row_of) for name in names}


def _query_tower(model: CompleteTheLook, names: list[str]) -> keras.Model:
    """The scene tower with one vector a ranker, because the regions of a large split would fill the
    memory."""
    tower = model.scene_tower
    scene, regions = tower.output["global_embedding"], tower.output["region_embeddings"]
    attention = keras.layers.Reshape((regions.shape[1],), dtype="float32")(
        tower.output["attention"]
    )
    made = {
        "model": lambda: tower.output["query"],
        "global_only": lambda: SceneQuery("global")(scene, regions, attention),
        "local_only": lambda: SceneQuery("local")(scene, regions, attention),
        "uniform_attention": lambda: SceneQuery(model.config.distance)(
            scene, regions, UniformAttention()(regions)
        ),
    }
    return keras.Model(tower.inputs, {name: made[name]() for name in names})


def _inner_product_ranker(
    name: str, queries: dict[str, np.ndarray], embeddings: np.ndarray, row_of: np.ndarray
) -> Ranker:
    return lambda rows, candidates: 2 - queries[name][rows] @ embeddings[row_of[candidates]].T


def _region_ranker(
    model: CompleteTheLook,
    name: str,
    embedded: dict[str, np.ndarray],
    embeddings: np.ndarray,
    row_of: np.ndarray,
) -> Ranker:
    def distances(scene: dict[str, Any], products: tf.Tensor) -> dict[str, Any]:
        if name != "uniform_attention":
            return model.score(scene, products)
        regions = scene["region_embeddings"]
        return model.distance(
            scene["global_embedding"], regions, UniformAttention()(regions), products
        )

    key = {"global_only": "global_distance", "local_only": "local_distance"}.get(
        name, "hybrid_distance"
    )

    def rank(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        chosen = tf.constant(embeddings[row_of[candidates]])[None]
        step = max(1, _CHUNK // (len(candidates) * embedded["region_embeddings"].shape[1]))
        parts = []
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            scene = {name: tf.constant(value[part]) for name, value in embedded.items()}
            parts.append(distances(scene, tf.repeat(chosen, len(part), axis=0))[key].numpy())
        return np.concatenate(parts)

    return rank


def popularity_ranker(pairs: Pairs) -> Ranker:
    """Ranks by how many training pairs have the product."""
    counts = np.zeros(len(pairs.images.ids))
    counts[pairs.product] = pairs.popularity
    return lambda rows, candidates: np.repeat(-counts[candidates][None], len(rows), axis=0)


def cosine_ranker(backbone: Backbone, pairs: Pairs, batch_size: int) -> Ranker:
    """Ranks by the cosine between the backbone's global features of scene and product."""
    size = backbone.image_size
    image = keras.Input((size, size, 3))
    features = keras.Model(image, backbone(image)[0])

    def embed(rows: np.ndarray, windows: np.ndarray | None) -> np.ndarray:
        pictures = image_batches(pairs.images, rows, windows, batch_size, size)
        values = features.predict(pictures, verbose=0)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)

    rows = _candidate_rows(pairs)
    row_of = _row_lookup(pairs, rows)
    products, scenes = embed(rows, None), embed(pairs.scene, pairs.window)
    return lambda rows, candidates: 1 - scenes[rows] @ products[row_of[candidates]].T


def colour_ranker(pairs: Pairs) -> Ranker:
    """Ranks by the distance between the colours of the scene's window and those of the product; see
    `colour_histograms`."""
    rows = _candidate_rows(pairs)
    row_of = _row_lookup(pairs, rows)
    products = colour_histograms(pairs.images, rows)
    scenes = colour_histograms(pairs.images, pairs.scene, pairs.window)
    return lambda rows, candidates: hellinger(scenes[rows], products[row_of[candidates]])


def _candidate_rows(pairs: Pairs) -> np.ndarray:
    """Image rows of all products that are ranked, sorted."""
    asked = np.unique(pairs.category)
    return np.unique(np.concatenate([pairs.category_products[category] for category in asked]))


def _row_lookup(pairs: Pairs, rows: np.ndarray) -> np.ndarray:
    """Image row -> position among `rows`, or -1."""
    lookup = np.full(len(pairs.images.ids), -1)
    lookup[rows] = np.arange(len(rows))
    return lookup

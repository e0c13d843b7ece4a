"""What is ranked by: the model, and the baselines that it has to beat."""

import keras
import numpy as np
import tensorflow as tf

from ctl_keras.data.batches import image_batches
from ctl_keras.data.pairs import Pairs
from ctl_keras.evaluation.ranking import Ranker
from ctl_keras.models.backbone import Backbone
from ctl_keras.models.complete_the_look import CompleteTheLook

_CHUNK = 20_000_000  # distances between regions and products that are held at a time


def model_ranker(model: CompleteTheLook, pairs: Pairs, batch_size: int) -> Ranker:
    """Ranks by the model's distance; each picture goes through its tower once.

    `pairs.category` must index the model's categories.
    """
    products, row_of = np.unique(pairs.product), _row_lookup(pairs)
    embeddings = model.product_tower.predict(
        image_batches(pairs.images, products, None, batch_size, model.image_size), verbose=0
    )
    scenes = image_batches(pairs.images, pairs.scene, pairs.window, batch_size, model.image_size)
    categories = tf.data.Dataset.from_tensor_slices(pairs.category.astype(np.int32)).batch(batch_size)
    tower = model.scene_tower
    if model.config.has_inner_product:  # regions of a large split would fill the memory
        tower = keras.Model(tower.inputs, {"query": tower.output["query"]})
    queries = tower.predict(
        tf.data.Dataset.zip((scenes, categories)).map(lambda scene, category: ({"scene": scene, "category": category},)),
        verbose=0,
    )

    def rank(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        chosen = embeddings[row_of[candidates]]
        if model.config.has_inner_product:
            return 2 - queries["query"][rows] @ chosen.T
        step = max(1, _CHUNK // (len(candidates) * queries["region_embeddings"].shape[1]))
        parts = []
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            scene = {name: tf.constant(value[part]) for name, value in queries.items()}
            repeated = tf.repeat(tf.constant(chosen)[None], len(part), axis=0)
            parts.append(model.score(scene, repeated)["hybrid_distance"].numpy())
        return np.concatenate(parts)

    return rank


def popularity_ranker(pairs: Pairs) -> Ranker:
    """Ranks by how many training pairs have the product."""
    counts = np.zeros(len(pairs.images.ids))
    counts[pairs.product] = pairs.popularity
    return lambda rows, candidates: np.repeat(-counts[candidates][None], len(rows), axis=0)


def untrained_ranker(model: CompleteTheLook, pairs: Pairs, batch_size: int) -> Ranker:
    """Ranks by the cosine between the global features of scene and product, of the backbone before any training here."""
    config = model.config
    backbone = model.backbone
    if config.train_backbone:
        keras.utils.set_random_seed(0)  # without pretrained weights: the same figures in each evaluation
        backbone = Backbone(config.backbone, model.image_size, config.global_tap, config.local_tap, weights=config.weights)
    image = keras.Input((model.image_size, model.image_size, 3))
    features = keras.Model(image, backbone(image)[0])

    def embed(rows: np.ndarray, windows: np.ndarray | None) -> np.ndarray:
        values = features.predict(image_batches(pairs.images, rows, windows, batch_size, model.image_size), verbose=0)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)

    row_of = _row_lookup(pairs)
    products, scenes = embed(np.unique(pairs.product), None), embed(pairs.scene, pairs.window)
    return lambda rows, candidates: 1 - scenes[rows] @ products[row_of[candidates]].T


def _row_lookup(pairs: Pairs) -> np.ndarray:
    """Image row -> position among the sorted products of the table."""
    products = np.unique(pairs.product)
    lookup = np.full(len(pairs.images.ids), -1)
    lookup[products] = np.arange(len(products))
    return lookup

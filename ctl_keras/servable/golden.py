"""Golden answers: a few drawn pictures and the trained model's distances, kept in the manifest. An
export is published only if they come back from it, and whoever serves it can ask for them again."""

import base64
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.models.complete_the_look import CompleteTheLook

COUNT = 4
_SIDE = 96  # pixels
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}  # of a distance between 0 and 4


class GoldenPair(NamedTuple):
    """Two picture files, a category, and the trained model's distance between them."""

    scene_bytes: bytes
    product_bytes: bytes
    category: str
    hybrid_distance: float

    def to_json(self) -> dict[str, Any]:
        """The pair with its pictures in base64, as a REST request has them."""
        pictures = {
            name: base64.b64encode(getattr(self, name)).decode()
            for name in ("scene_bytes", "product_bytes")
        }
        return {**pictures, "category": self.category, "hybrid_distance": self.hybrid_distance}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "GoldenPair":
        """What `to_json` returned."""
        pictures = {
            name: base64.b64decode(value[name]) for name in ("scene_bytes", "product_bytes")
        }
        return cls(**{**value, **pictures})


def golden_pairs(model: CompleteTheLook) -> list[GoldenPair]:
    """Asks the Keras model itself, with its network as it was trained, in the precision it has.

    Args:
        model: the trained model.

    Returns:
        `COUNT` pairs of different pictures; categories in turn.
    """
    scenes, products = (_pictures(seed) for seed in (0, 1))
    category = np.arange(COUNT, dtype=np.int32) % len(model.categories)

    def decoded(files: list[bytes]) -> tf.Tensor:
        return tf.stack(
            [resize_image(decode_image(tf.constant(file)), model.image_size) for file in files]
        )

    with model.backbone.running(None):
        scene = model.scene_tower(
            {"scene": decoded(scenes), "category": tf.constant(category)}, training=False
        )
        embedding = model.product_tower(decoded(products), training=False)
    distances = np.asarray(model.score(scene, embedding[:, None])["hybrid_distance"], np.float64)[
        :, 0
    ]
    names = [model.categories[index] for index in category]
    return [
        GoldenPair(*row) for row in zip(scenes, products, names, distances.tolist(), strict=True)
    ]


def largest_difference(signature: Any, pairs: list[GoldenPair]) -> float:
    """How far the answers of an export's `serving_default` are from the golden ones; NaN if one is
    no number."""
    inputs = {
        name: tf.constant([getattr(pair, name) for pair in pairs])
        for name in GoldenPair._fields[:3]
    }
    answers = signature(**inputs)["hybrid_distance"].numpy()
    return float(np.abs(answers - [pair.hybrid_distance for pair in pairs]).max())


def _pictures(seed: int) -> list[bytes]:
    """JPEGs of smooth coloured waves, all different."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    files = []
    for _ in range(COUNT):
        frequency, phase = random.uniform(1, 9, (3, 2)), random.uniform(0, 6, 3)
        waves = np.stack(
            [
                np.sin(fx * x * 6 + fy * y * 6 + p)
                for (fx, fy), p in zip(frequency, phase, strict=True)
            ],
            axis=-1,
        )
        files.append(tf.io.encode_jpeg((127.5 + 127 * waves).astype(np.uint8), quality=90).numpy())
    return files

"""What serving costs: an export from JPEG bytes against the bare network, as it is, optimized, and
in bfloat16; and what stored embeddings save.

`python benchmarks/serving.py [--json F]` prints a table of ratios, each measured side by side in
one run; `FULL=1` takes pictures of 224 pixels, batches of 8 and 32, the size of the targets.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _common import FULL, Figures, photos, side_by_side
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import ctl_keras as ctl

SIZE = 224 if FULL else 112
LOCAL_TAP = "conv4_block6_out" if FULL else "conv3_block4_out"
BATCHES = (8, 32) if FULL else (8,)
REPETITIONS = 9 if FULL else 5
PRODUCTS = 100
CATEGORY = "Shoes"


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 (AVX512-BF16, or AMX)."""
    try:
        return "bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def bare(model: ctl.CompleteTheLook) -> dict[str, Callable[[tf.Tensor], Any]]:
    """The network alone, decoded and preprocessed pictures in, both taps out: with variables, and
    frozen."""
    trunk = model.backbone.trunk
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)
    graph = tf.function(
        lambda images: trunk(images, training=False), [spec], jit_compile=False
    ).get_concrete_function()
    return {"bare": graph, "bare, frozen": convert_variables_to_constants_v2(graph)}


def serving(folder: Path, batch: int) -> Callable[[], Any]:
    """Pairs of JPEGs through `serving_default`."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    inputs = {
        "scene_bytes": tf.constant(photos(batch, seed=1)),
        "product_bytes": tf.constant(photos(batch, seed=2)),
        "category": tf.fill([batch], CATEGORY),
    }
    return lambda: signature(**inputs)["hybrid_distance"].numpy()


def stored_embeddings(folder: Path) -> dict[str, Callable[[], Any]]:
    """One scene and many products: with their stored embeddings, and as pairs of pictures."""
    signatures = tf.saved_model.load(str(folder)).signatures
    scene, category = tf.constant(photos(1)), tf.constant([CATEGORY])
    parts = tf.split(tf.constant(photos(PRODUCTS, seed=3)), 5)
    stored = tf.concat(
        [signatures["embed_product"](product_bytes=part)["embedding"] for part in parts], 0
    )

    def by_embeddings() -> np.ndarray:
        query = signatures["embed_scene"](scene_bytes=scene, category=category)["query"]
        scored = signatures["score_embeddings"](
            query=tf.repeat(query, PRODUCTS, axis=0), embedding=stored
        )
        return scored["hybrid_distance"].numpy()

    def by_pairs() -> np.ndarray:
        rows = len(parts[0])
        shared = {"scene_bytes": tf.repeat(scene, rows), "category": tf.repeat(category, rows)}
        scored = [
            signatures["serving_default"](product_bytes=part, **shared)["hybrid_distance"]
            for part in parts
        ]
        return tf.concat(scored, 0).numpy()

    assert np.abs(by_embeddings() - by_pairs()).max() < 1e-5
    return {"embeddings": by_embeddings, "pairs": by_pairs}


def throughput(
    figures: Figures, exports: dict[str, Path], networks: dict[str, Callable], batch: int
) -> None:
    """The same number of pictures through each: from JPEG bytes, two a pair, and bare."""
    images = tf.random.uniform([2 * batch, SIZE, SIZE, 3], -128, 128)

    def passes(network: Callable) -> Callable[[], Any]:
        return lambda: [output.numpy() for output in network(images)]

    runs = {name: serving(path, batch) for name, path in exports.items()}
    seconds = side_by_side(
        runs | {name: passes(network) for name, network in networks.items()}, REPETITIONS
    )

    def ratio(name: str, one: str, other: str, at_least: float) -> None:
        figures.add(f"batches of {batch}: {name}", seconds[other] / seconds[one], at_least=at_least)

    ratio("plain export against the bare network", "plain", "bare", 0.95)
    ratio("--optimize against the plain export", "optimized", "plain", 1.1)
    ratio("--optimize against the bare frozen network", "optimized", "bare, frozen", 0.95)
    if "bfloat16" in exports:
        ratio("--optimize --precision bfloat16 against --optimize", "bfloat16", "optimized", 1.15)
    figures.add(
        f"batches of {batch}: plain export", 2 * batch / seconds["plain"], unit="images a second"
    )


def main() -> None:
    figures = Figures(__doc__)
    model = ctl.CompleteTheLook([CATEGORY], image_size=SIZE, weights="none", local_tap=LOCAL_TAP)
    networks = bare(model)
    with tempfile.TemporaryDirectory() as folder:
        exports = {
            "plain": ctl.export(model, Path(folder, "plain")),
            "optimized": ctl.export(model, Path(folder, "optimized"), optimize=True),
        }
        if has_bfloat16():
            exports["bfloat16"] = ctl.export(
                model, Path(folder, "bfloat16"), optimize=True, precision="bfloat16"
            )
        for batch in BATCHES:
            throughput(figures, exports, networks, batch)
        seconds = side_by_side(stored_embeddings(exports["plain"]), 3)
        name = f"{PRODUCTS} products for one scene, stored embeddings against pairs"
        figures.add(name, seconds["pairs"] / seconds["embeddings"], at_least=50)
    figures.write()


if __name__ == "__main__":
    main()

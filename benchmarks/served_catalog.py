"""The catalog inside a SavedModel: size, load time, and latency of `recommend` without the network,
for each way to store the embeddings; all products in one category, or in ten.

`python benchmarks/served_catalog.py [--json F]` prints a table; `FULL=1` takes 1,000,000 products
of 128 numbers. Queries are sums of two products and noise, as a scene's query is a sum of
embeddings. Peers in the same run: numpy (a matrix-vector product and `argpartition`), which also
says what is right, and `ExactIndex`.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import tensorflow as tf
from _common import FULL, Figures, side_by_side

import ctl_keras as ctl
from ctl_keras.catalog.catalog import write_catalog
from ctl_keras.files import read_json
from ctl_keras.servable.catalog_signatures import VECTORS, CatalogSignatures

COUNT = 1_000_000 if FULL else 50_000
DIM, CLUSTERS, K = 128, 2000, 100
CATEGORIES = [f"c{index}" for index in range(10)]
REPETITIONS = 15
QUERIES, BATCH = 20, 32
SMALL = {
    "backbone": "ResNet50",
    "weights": "none",
    "global_tap": "conv3_block1_out",
    "local_tap": "conv2_block2_out",
}


def draw(target: np.ndarray) -> None:
    """Unit vectors around centres, as products of a style are."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, DIM)).astype(np.float32)
    for start in range(0, len(target), 1 << 16):
        block = target[start : start + (1 << 16)]
        vectors = centres[random.integers(CLUSTERS, size=len(block))] + random.standard_normal(
            block.shape
        ).astype(np.float32)
        block[:] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def queries(embeddings: np.ndarray, count: int) -> np.ndarray:
    random = np.random.default_rng(1)
    pairs = embeddings[random.integers(len(embeddings), size=(2, count))].sum(axis=0)
    return (pairs + random.normal(0, 0.5 * DIM**-0.5, pairs.shape)).astype(np.float32)


def by_numpy(embeddings: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Rows of the K nearest, nearest first."""
    products = embeddings @ query
    rows = np.argpartition(products, -K)[-K:]
    return rows[np.argsort(-products[rows], kind="stable")]


def searches(search: Callable[..., Any], query: np.ndarray, category: int) -> Callable[[], Any]:
    inputs = tf.constant(query), tf.fill([len(query)], category)
    return lambda: search(*inputs)[0].numpy()


def right(figures: Figures, name: str, search: Callable[..., Any], embeddings: np.ndarray) -> None:
    """Answers over the whole catalog against numpy's."""
    asked = queries(embeddings, QUERIES)
    rows, products = (
        value.numpy() for value in search(tf.constant(asked), tf.zeros([QUERIES], tf.int32))
    )
    exact = [by_numpy(embeddings, query) for query in asked]
    kept = [
        len(set(found[:10]) & set(wanted[:10])) / 10
        for found, wanted in zip(rows.tolist(), exact, strict=True)
    ]
    error = max(
        np.abs(embeddings[found] @ query - value).max()
        for found, query, value in zip(rows, asked, products, strict=True)
    )
    figures.add(
        f"{name}: recall@10", float(np.mean(kept)), at_least=1.0 if name == "float32" else None
    )
    most = 10 if name == "float32" else None
    figures.add(
        f"{name}: largest error of a distance", 1e6 * float(error), at_most=most, unit="e-6"
    )


def main() -> None:
    figures = Figures(__doc__)
    model = ctl.CompleteTheLook(CATEGORIES, 32, dim=DIM, **SMALL)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain = ctl.export(model, folder / "plain")
        ids = pa.array(map(str, range(COUNT)), pa.string())
        paths = pa.DictionaryArray.from_arrays(pa.array(np.zeros(COUNT, np.int32)), CATEGORIES)
        every = np.arange(COUNT)
        columns = {"id": ids, "image": ids, "category": paths}
        table = pa.table({**columns, "fingerprint": ids, "picture_hash": every})
        local = ctl.LocalModel(plain)
        catalog = write_catalog(
            folder / "catalog", draw, table, DIM, local.manifest["weights_hash"], {}
        )
        embeddings = np.array(catalog.embeddings)
        query, batch = queries(embeddings, 1), queries(embeddings, BATCH)
        index = ctl.ExactIndex().build(embeddings, catalog.ids, catalog.categories)
        runs: dict[str, Callable[[], Any]] = {
            "numpy": lambda: by_numpy(embeddings, query[0]),
            "index": lambda: index.search(query, K, CATEGORIES[0]).rows,
        }
        in_ten = np.sort(np.arange(COUNT) % len(CATEGORIES)).astype(np.int32)
        for vectors in VECTORS:
            version = ctl.export(plain, folder / vectors, catalog=catalog.folder, vectors=vectors)
            size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
            figures.add(f"{vectors}: size on disk", size / 1e6, unit="MB")
            began = time.perf_counter()
            loaded = tf.saved_model.load(str(version))
            figures.add(f"{vectors}: load time", time.perf_counter() - began, unit="s")
            right(figures, vectors, loaded.search, embeddings)
            manifest = read_json(version / "manifest.json", "The manifest")["catalog"]
            figures.add(f"{vectors}: recall@10 that the manifest says", manifest["recall_at_10"])
            ten = CatalogSignatures(
                local.loaded, local.manifest, embeddings, np.array(ids), in_ten, every, vectors
            )
            runs[f"{vectors}, one category"] = searches(loaded.search, query, 0)
            runs[f"{vectors}, one of ten categories"] = searches(ten.search, query, 3)
            runs[f"{vectors}, {BATCH} queries, one category"] = searches(loaded.search, batch, 0)
        seconds = side_by_side(runs, REPETITIONS)
        for name, value in seconds.items():
            figures.add(f"{name}: latency", 1000 * value, unit="ms")
        for vectors in VECTORS:
            one = seconds[f"{vectors}, one category"]
            for peer in ("numpy", "index"):
                figures.add(f"{vectors}, one category: against {peer}", one / seconds[peer])
            figures.add(
                f"{vectors}: one of ten categories against all",
                seconds[f"{vectors}, one of ten categories"] / one,
            )
            figures.add(
                f"{vectors}: {BATCH} queries against one",
                seconds[f"{vectors}, {BATCH} queries, one category"] / one,
            )
    figures.write()


if __name__ == "__main__":
    main()

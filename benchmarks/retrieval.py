"""What searching a catalog takes: exact search against reading the vectors, FAISS and the
distance's formula as it is written; then how much each index finds in how much time.

`python benchmarks/retrieval.py [--json F] [--pictures DIR]` prints tables, and plots the last one;
`FULL=1` takes 1,000,000 products.
"""

import os
import tempfile
import time
from collections.abc import Callable

import faiss
import numpy as np
from _common import FULL, Figures, side_by_side
from _vectors import DIM, REGIONS, THREADS, ids, products, queries, read_once, seconds

from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.faiss_index import FaissIndex
from ctl_keras.retrieval.index import Index
from ctl_keras.retrieval.milvus_index import MilvusIndex

COUNT = 1_000_000 if FULL else 100_000
MILVUS_COUNT = 100_000 if FULL else 20_000  # Milvus Lite is made for small collections
SLICE = 2000  # products that the formula is computed for
K, QUERIES = 10, 100


def as_written(
    scene: np.ndarray, regions: np.ndarray, attention: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """(d_global + d_local) / 2, region by region and product by product."""
    globally = ((scene - vectors) ** 2).sum(-1)
    locally = np.zeros(len(vectors), np.float32)
    for weight, region in zip(attention, regions, strict=True):
        locally += weight * ((region - vectors) ** 2).sum(-1)
    return (globally + locally) / 2


def a_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors `[DIM]` and `[REGIONS, DIM]`, and attention `[REGIONS]`."""
    random = np.random.default_rng(2)
    vectors = random.standard_normal((REGIONS + 1, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    attention = np.exp(random.uniform(-4, 0, REGIONS)).astype(np.float32)
    return vectors[0], vectors[1:], attention / attention.sum()


def compare(figures: Figures, vectors: np.ndarray, exact: ExactIndex) -> None:
    """The targets."""
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    asked, total = queries(vectors, 64), read_once(vectors)
    taken = side_by_side(
        {
            "sum": total,
            "exact 1": lambda: exact.search(asked[:1], K),
            "faiss 1": lambda: flat.search(asked[:1], K),
            "exact 64": lambda: exact.search(asked, K),
            "faiss 64": lambda: flat.search(asked, K),
        },
        repetitions=15 if FULL else 9,
    )
    for name, value in taken.items():
        print(f"{name:10} {value * 1e3:9.2f} ms")
    figures.add(
        "exact search of one query / reading the vectors once",
        taken["exact 1"] / taken["sum"],
        at_most=1.3,
    )
    figures.add(
        "FAISS IndexFlatIP / exact search, 1 query", taken["faiss 1"] / taken["exact 1"], at_least=1
    )
    figures.add(
        "FAISS IndexFlatIP / exact search, 64 queries",
        taken["faiss 64"] / taken["exact 64"],
        at_least=1,
    )

    scene, regions, attention = a_scene()
    part = vectors[:SLICE]
    written = seconds(lambda: as_written(scene, regions, attention, part), 3) * len(vectors) / SLICE
    query = scene + attention @ regions
    identity = seconds(lambda: exact.search(query, K))
    print(
        f"the formula as written: {written:.1f} s, extrapolated from {SLICE} products; search: "
        f"{identity * 1e3:.1f} ms"
    )
    figures.add("distance formula as written / exact search", written / identity, at_least=500)
    found = ExactIndex().build(part, ids(SLICE), ["any"] * SLICE).search(query, SLICE)
    expected = as_written(scene, regions, attention, part)[found.rows[0]]
    figures.add(
        "largest difference from the formula, of 1e-5",
        np.abs(found.distances[0] - expected).max() / 1e-5,
        at_most=1,
    )


def recalls(vectors: np.ndarray, exact: ExactIndex) -> list[tuple[str, int, float, float, float]]:
    """Index with its settings, products, recall@10, milliseconds a query and seconds to build, of
    each."""
    rows = []

    def measure(name: str, index: Index, build: float, data: np.ndarray, truth: np.ndarray) -> None:
        asked = queries(data, QUERIES)
        found = index.search(asked, K).rows
        recall = float(
            np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)])
        )
        position = iter(range(10**9))
        latency = seconds(lambda: index.search(asked[next(position) % QUERIES], K), QUERIES)
        rows.append((name, len(data), recall, latency * 1e3, build))
        print(
            f"{name:24} {len(data):9} products  recall@10 {recall:.3f}  {latency * 1e3:8.3f} ms  "
            f"built in {build:7.1f} s",
            flush=True,
        )

    def built(index: Index, data: np.ndarray) -> float:
        return seconds_of(lambda: index.build(data, ids(len(data)), ["any"] * len(data)))

    truth = exact.search(queries(vectors, QUERIES), K).rows
    measure("exact", exact, 0.0, vectors, truth)
    for method, efforts in (
        ("flat", (0,)),
        ("hnsw", (16, 32, 64, 128, 256)),
        ("ivfpq", (4, 16, 64, 256)),
    ):
        index = FaissIndex(method)
        build = built(index, vectors)
        for effort in efforts:
            index.effort = effort
            measure(
                f"FAISS {method}" + (f", effort {effort}" if effort else ""),
                index,
                build,
                vectors,
                truth,
            )
    with tempfile.TemporaryDirectory() as folder:
        part = vectors[:MILVUS_COUNT]
        milvus = MilvusIndex(os.path.join(folder, "products.db"))
        build = built(milvus, part)
        small = ExactIndex().build(part, ids(len(part)), ["any"] * len(part))
        measure("Milvus Lite", milvus, build, part, small.search(queries(part, QUERIES), K).rows)
    return rows


def seconds_of(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def plot(rows: list[tuple[str, int, float, float, float]], folder: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    kinds: dict[str, list[tuple[str, int, float, float, float]]] = {}
    for row in rows:
        kinds.setdefault(row[0].split(",")[0], []).append(row)
    for (kind, points), marker in zip(kinds.items(), "osD^v", strict=False):
        note = "" if points[0][1] == COUNT else f" ({points[0][1]:,} products)"
        axes.plot([p[3] for p in points], [p[2] for p in points], marker=marker, label=kind + note)
        for name, _, recall, latency, _ in points:
            if "effort" in name:
                axes.annotate(
                    name.rsplit(" ", 1)[1],
                    (latency, recall),
                    xytext=(4, -11),
                    textcoords="offset points",
                    fontsize=8,
                )
    axes.set(xscale="log", xlabel="milliseconds a query (one query at a time)", ylabel="recall@10")
    axes.set_title(
        f"{COUNT:,} products of {DIM} numbers, {THREADS} cores; the numbers are `effort`",
        fontsize=10,
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    os.makedirs(folder, exist_ok=True)
    figure.savefig(os.path.join(folder, "retrieval_recall.png"), dpi=110)


def main() -> None:
    figures = Figures(__doc__, ("--pictures", "folder for the plot"))
    faiss.omp_set_num_threads(THREADS)
    vectors = products(COUNT)
    exact = ExactIndex().build(vectors, ids(COUNT), ["any"] * COUNT)
    compare(figures, vectors, exact)
    rows = recalls(vectors, exact)
    if figures.arguments.pictures:
        plot(rows, figures.arguments.pictures)
    figures.write()


if __name__ == "__main__":
    main()

"""How the cost of each index grows with the catalog: time to build, time of a query, memory.

`python benchmarks/retrieval_growth.py [--json F] [--pictures DIR]` takes 10,000 and 100,000
products, `FULL=1` up to 10,000,000 (5 GB on disk). It prints a table and, with `--pictures`, draws
it.

Each index has a process of its own, whose memory is counted without what the imports took. All read
the same vectors, mapped from disk and sorted by category as a catalog's are; the second query asks
for one category of ten.
"""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from _vectors import DIM, THREADS, fill, ids, queries, seconds

SIZES = (10_000, 100_000, 1_000_000, 10_000_000) if os.environ.get("FULL") else (10_000, 100_000)
CATEGORIES, K, QUERIES = 10, 10, 30
# products at most: Milvus Lite is made for small collections; graphs and cells of ten million take
# long to build on two cores
MOST = {"Milvus Lite": 100_000, "FAISS hnsw": 1_000_000, "FAISS ivfpq": 1_000_000}
INDEXES = ("exact", "FAISS flat", "FAISS hnsw", "FAISS ivfpq", "Milvus Lite")
MARKERS = "osD^v"
COLUMNS = {
    "build": "seconds to build",
    "query": "milliseconds a query",
    "category": "milliseconds a query, one category of ten",
    "memory": "GB of memory of its own",
}


def make(name: str, folder: str) -> Any:
    from ctl_keras.retrieval.exact_index import ExactIndex
    from ctl_keras.retrieval.faiss_index import FaissIndex
    from ctl_keras.retrieval.milvus_index import MilvusIndex

    if name == "exact":
        return ExactIndex()
    return (
        MilvusIndex(os.path.join(folder, "products.db"))
        if name == "Milvus Lite"
        else FaissIndex(name.split()[1])
    )


def measure(name: str, count: int, path: str) -> dict[str, float]:
    """The `COLUMNS` of one index, and GB of the vectors that it has mapped."""
    vectors = np.load(path, mmap_mode="r")[:count]
    codes = pa.array(np.arange(count, dtype=np.int64) * CATEGORIES // count, pa.int32())
    categories = pa.DictionaryArray.from_arrays(codes, [f"c{code}" for code in range(CATEGORIES)])
    asked, names = queries(vectors, QUERIES), ids(count)
    with tempfile.TemporaryDirectory() as folder:
        index = make(name, folder)
        before = memory("RssAnon")
        began = time.perf_counter()
        index.build(vectors, names, categories)
        row = {"build": time.perf_counter() - began}
        for column, category in (("query", None), ("category", f"c{CATEGORIES // 2}")):
            turn = iter(range(QUERIES + 1))

            def search(turn=turn, category=category):
                return index.search(asked[next(turn) % QUERIES], K, category)

            row[column] = 1e3 * seconds(search, QUERIES)
        return {**row, "memory": memory("RssAnon") - before, "mapped": memory("RssFile")}


def memory(field: str) -> float:
    """GB of this process, from Linux."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1e6


def plot(rows: dict[str, dict[int, dict[str, float]]], folder: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained", sharex=True)
    for panel, (column, label) in zip(axes.flat, COLUMNS.items(), strict=True):
        for (name, sizes), marker in zip(rows.items(), MARKERS, strict=True):
            panel.plot(
                list(sizes), [row[column] for row in sizes.values()], marker=marker, label=name
            )
        panel.set(xscale="log", yscale="log", ylabel=label)
        panel.grid(alpha=0.3)
    vectors = [count * DIM * 4e-9 for count in SIZES]
    axes.flat[3].plot(SIZES, vectors, color="gray", linestyle=":", label="the vectors themselves")
    for panel in axes[1]:
        panel.set_xlabel("products")
    axes.flat[3].legend(fontsize=9)
    figure.suptitle(f"{DIM} numbers a product, one query at a time, {THREADS} cores", fontsize=11)
    os.makedirs(folder, exist_ok=True)
    figure.savefig(os.path.join(folder, "retrieval_growth.png"), dpi=110)


def main() -> None:
    from _common import Figures  # not in the processes that are measured: it brings TensorFlow

    figures = Figures(__doc__, ("--pictures", "folder for the plot"))
    rows: dict[str, dict[int, dict[str, float]]] = {name: {} for name in INDEXES}
    print(
        f"{'':12} {'products':>10} {'build':>10} {'query':>11} {'in category':>12} {'memory':>9} "
        f"{'mapped':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vectors.npy")
        stored = np.lib.format.open_memmap(path, "w+", np.float32, (SIZES[-1], DIM))
        fill(stored)
        del stored
        for count in SIZES:
            for name in INDEXES:
                if count > MOST.get(name, count):
                    continue
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    row = rows[name][count] = pool.apply(measure, (name, count, path))
                print(
                    f"{name:12} {count:10,} {row['build']:8.1f} s {row['query']:8.3f} ms "
                    f"{row['category']:9.3f} ms {row['memory']:6.2f} GB {row['mapped']:6.2f} GB",
                    flush=True,
                )
    for name, sizes in rows.items():
        *_, before, last = sizes
        for column in ("query", "memory"):
            growth = sizes[last][column] / sizes[before][column]
            figures.add(f"{name}: {column} of {last:,} / of {before:,} products", growth)
    if figures.arguments.pictures:
        plot(rows, figures.arguments.pictures)
    figures.write()


if __name__ == "__main__":
    main()

"""Generated catalogs for the benchmarks of retrieval."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

DIM, REGIONS, THREADS = 128, 196, 2
_MEAN = 0.36  # length of the mean of unit vectors
_BLOCK = 100_000


def fill(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Writes unit vectors whose mean and variances, by principal component, are near those of 2,847
    embedded products (the model of docs/results.md on street photos): approximate indexes live on
    the few dimensions that matter.
    """
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.standard_normal((DIM, DIM)))[0]
    deviations = 1 / (np.arange(DIM) + 6)
    deviations *= np.sqrt((1 - _MEAN**2) / np.sum(deviations**2))
    turned = np.asarray(deviations[:, None] * axes, np.float32)
    mean = np.asarray(_MEAN * axes[-1], np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        block[:] = random.standard_normal(block.shape, np.float32) @ turned + mean
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def products(count: int, seed: int = 0) -> np.ndarray:
    """float32 `[count, DIM]`."""
    return fill(np.empty((count, DIM), np.float32), seed)


def queries(vectors: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """Sums of two unit vectors, as a scene's query is: near some product, and with noise, float32
    `[count, DIM]`."""
    random = np.random.default_rng(seed)
    both = [
        vectors[random.integers(len(vectors), size=count)] + random.normal(0, 0.05, (count, DIM))
        for _ in range(2)
    ]
    return np.asarray(
        sum(one / np.linalg.norm(one, axis=1, keepdims=True) for one in both), np.float32
    )


def ids(count: int) -> pa.StringArray:
    return pa.array(np.arange(count)).cast(pa.string())


def seconds(run: Callable[[], Any], repetitions: int = 7) -> float:
    """The median of some runs, after one."""
    run()
    taken = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def read_once(vectors: np.ndarray) -> Callable[[], float]:
    """A plain sum of the array in `THREADS` threads: what reading it takes."""
    pool = ThreadPoolExecutor(THREADS)
    parts = np.array_split(vectors, THREADS)
    return lambda: float(sum(pool.map(np.sum, parts)))

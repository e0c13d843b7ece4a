"""The largest inner products of queries with any number of vectors: one pass, in blocks that stay
in the cache.

Measured on 2 cores, 1,000,000 x 128 (docs/results.md, "Retrieval"):

* one query: `einsum` in two threads reads as fast as a plain sum in two threads; the BLAS takes up
  to 1.7 times as long;
* 64 queries: stacks of products so small that the BLAS keeps each in one thread, in two threads of
  our own, 95 ms; one product a block with the BLAS's own threads 150 to 220 ms, seconds where
  another process wants the cores: they wait for each other.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# multiplications of one product: OpenBLAS shares those of more than twice that among its threads
_ONE_THREAD = 131072
_FEW = 3  # queries that are as fast one by one
_QUERIES = 8192  # numbers of the queries that are looked for in one pass: 64 queries of 128
_PRODUCTS = 1 << 19  # of a block
_ROWS = 32768  # of a block, at most
_SPARSE = 4  # below one row in four it is faster to gather the rows
_THREADS = 8  # at most: a few use up what the memory gives

Table = tuple[np.ndarray, np.ndarray, np.ndarray]  # number of the query, row, inner product


def scan(
    vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows with the largest inner products.

    Args:
        vectors: float32 `[rows, dim]`.
        queries: float32 `[queries, dim]`.
        k: int. Rows for each query.
        allowed: bool `[rows]`. A block without one is not read.

    Returns:
        For each query rows, int64, and inner products, float32, at most k, the largest first; of
        equal ones the lower row.
    """
    at_once = max(_QUERIES // queries.shape[1], 1) if len(queries) > _FEW else 1
    parts = (queries[first : first + at_once] for first in range(0, len(queries), at_once))
    return [answer for part in parts for answer in _pass(vectors, part, k, allowed)]


def _pass(
    vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    count, dim = queries.shape
    tile = max(_ONE_THREAD // (count * dim), 1)
    size = max(min(_PRODUCTS // count, _ROWS) // tile, 1) * tile
    feed = iter(range(0, len(vectors), size))  # each thread takes the next block

    def look(best: _Best) -> None:
        buffer = np.empty((size, count), np.float32)
        for start in feed:
            block = vectors[start : start + size]
            passing = allowed[start : start + len(block)]
            number = np.count_nonzero(passing)
            if not number:
                continue
            rows = None
            if number < len(block):
                rows = np.flatnonzero(passing)
                # all there is of a category, where rows are sorted
                first, last = int(rows[0]), int(rows[-1]) + 1
                start, block, passing = start + first, block[first:last], passing[first:last]
                rows = rows - first if number * _SPARSE < len(block) else None
            products = _products(block if rows is None else block[rows], queries, tile, buffer)
            if rows is None and number < len(block):
                products.reshape(-1, count)[: len(block)][~passing] = -np.inf
            best.take(products, start, rows)

    # less than a block each is done before another thread has started
    threads = min(1 + np.count_nonzero(allowed) // size, _cores(), _THREADS)
    bests = [_Best(count, k) for _ in range(threads)]
    if len(bests) == 1:
        look(bests[0])
    else:
        with ThreadPoolExecutor(len(bests)) as pool:
            list(pool.map(look, bests))
    query, row, product = _first([table for best in bests for table in best.tables], k)
    bounds = np.searchsorted(query, np.arange(count + 1))
    return [(row[first:last], product[first:last]) for first, last in itertools.pairwise(bounds)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _products(
    vectors: np.ndarray, queries: np.ndarray, tile: int, buffer: np.ndarray
) -> np.ndarray:
    """Inner products `[tiles, tile, queries]`, in `buffer`; -inf behind the last vector."""
    count, whole = len(vectors), len(vectors) // tile * tile
    products = buffer[: -(-count // tile) * tile]
    if len(queries) == 1:
        np.einsum("ij,j->i", vectors, queries[0], out=products[:count, 0])
    else:
        columns = np.ascontiguousarray(queries.T)
        np.matmul(_tiles(vectors[:whole], tile), columns, out=_tiles(products[:whole], tile))
        np.matmul(vectors[whole:], columns, out=products[whole:count])
    products[count:] = -np.inf
    return _tiles(products, tile)


def _tiles(rows: np.ndarray, tile: int) -> np.ndarray:
    return rows.reshape(-1, tile, rows.shape[1])


class _Best:
    """The k largest inner products of each query so far."""

    def __init__(self, queries: int, k: int):
        self.k = k
        self.least = np.full(queries, -np.inf, np.float32)  # of the best: what others must exceed
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        self.tables: list[Table] = [nothing]  # the best, and what may be better

    def take(self, products: np.ndarray, start: int, rows: np.ndarray | None) -> None:
        """Takes what may be among the best of a block that begins at the row `start`, or has only
        these `rows` from there."""
        tiles, size, queries = products.shape
        # hardly any, once the best are known
        tile, query = np.nonzero(products.max(axis=1) > self.least)
        if not len(tile):
            return
        bound, values = self.least, products[tile, :, query]
        if tiles * size > self.k and np.isneginf(self.least).any():
            bound = np.partition(products.reshape(-1, queries), -self.k, axis=0)[-self.k]
        pair, place = np.nonzero(
            (values > self.least[query, None]) & (values >= bound[query, None])
        )
        found = tile[pair] * size + place
        self.tables.append(
            (query[pair], start + (found if rows is None else rows[found]), values[pair, place])
        )
        if sum(len(new[0]) for new in self.tables[1:]) > len(self.tables[0][0]):
            self._sort()

    def _sort(self) -> None:
        query, _, product = best = _first(self.tables, self.k)
        self.tables = [best]
        last = np.flatnonzero(np.diff(query, append=-1))
        full = last[np.bincount(query)[query[last]] == self.k]
        self.least[query[full]] = product[full]


def _first(tables: list[Table], k: int) -> Table:
    """The k largest of each query, sorted by query, product and row."""
    query, row, product = map(np.concatenate, zip(*tables, strict=True))
    order = np.lexsort((row, -product, query))
    ranked = query[order]
    order = order[np.arange(len(order)) - np.searchsorted(ranked, ranked) < k]
    return query[order], row[order], product[order]

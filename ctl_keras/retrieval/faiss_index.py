import math
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.errors import InputError
from ctl_keras.retrieval.exact_scan import scan
from ctl_keras.retrieval.index import Index

METHODS = ("flat", "hnsw", "ivfpq")
_EFFORT = {"flat": 0, "hnsw": 64, "ivfpq": 32}
_LINKS = 32  # of a node of the HNSW graph
# products; product quantisation learns 256 centres for each part of the vectors
_LEAST_TO_LEARN = 1024
_BLOCK = 65536  # rows
# A step through the graph takes 2 us, a look at a vector 0.1 us (2 cores, d = 128), and with a
# filter that lets one of n pass the graph needs n times the steps: all that are allowed are looked
# at where that is faster.
_GRAPH_COST = 20


class FaissIndex(Index):
    """An index of the FAISS library. Needs `ctl-keras[faiss]`.

    With a filter as many allowed products are looked at as without one; all of them, where they are
    few.

    Args:
        method: `"flat"`, all products, exact; `"hnsw"`, a graph, fast, with some 1.5 times the
            memory of the vectors; or `"ivfpq"`, cells of vectors of `dim / 4` bytes each: a
            sixteenth of the memory, less exact. Defaults to `"hnsw"`.
        effort: int. How much is looked at: `efSearch` of a graph (defaults to 64), `nprobe`, the
            number of cells, of `"ivfpq"` (defaults to 32). More is slower and finds more
            (docs/results.md).

    Raises:
        InputError: FAISS is not installed, or there is no such method.
    """

    kind = "faiss"

    def __init__(self, method: str = "hnsw", effort: int | None = None):
        super().__init__()
        if method not in METHODS:
            raise InputError(f"`method` must be one of {', '.join(METHODS)}. Received: {method}")
        self.method = method
        self.effort = _EFFORT[method] if effort is None else effort
        self._faiss = _import_faiss()
        self._index: Any = None

    @property
    def is_exact(self) -> bool:
        return self.method == "flat"

    def _build(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        count, dim = embeddings.shape
        inner_product = self._faiss.METRIC_INNER_PRODUCT
        if self.method == "flat":
            self._index = self._faiss.IndexFlatIP(dim)
        elif self.method == "hnsw":
            self._index = self._faiss.IndexHNSWFlat(dim, _LINKS, inner_product)
        else:
            if count < _LEAST_TO_LEARN:
                raise InputError(
                    f"`ivfpq` learns from at least {_LEAST_TO_LEARN} products; take `flat`. "
                    f"Received: {count}"
                )
            parts = max(part for part in range(1, max(dim // 4, 1) + 1) if dim % part == 0)
            # 39: below that FAISS warns of too few points a cell
            cells = int(min(4 * count**0.5, count / 39))
            self._index = self._faiss.index_factory(dim, f"IVF{cells},PQ{parts}", inner_product)
            sample = np.random.default_rng(0).permutation(count)[: 64 * cells]
            self._index.train(np.ascontiguousarray(embeddings[np.sort(sample)]))
        for start in range(0, len(embeddings), _BLOCK):
            self._index.add(np.ascontiguousarray(embeddings[start : start + _BLOCK]))

    def _search(
        self, queries: np.ndarray, k: int, category: int | None, allowed: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        allowed = self._in_category(category, allowed)
        count = int(np.count_nonzero(allowed))
        k = min(k, count)
        if not k:
            return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
        if self.method == "hnsw" and count**2 < _GRAPH_COST * self.effort * len(allowed):
            return self._all(queries, k, allowed)
        # a filter leaves fewer products in what is looked at: as many more of them are
        effort = math.ceil(self.effort * len(allowed) / count)
        products, rows = self._look(queries, k, allowed, effort)
        answers = list(zip(rows, products, strict=True))
        if len(short := np.flatnonzero(rows[:, -1] < 0)):
            for place, answer in zip(short, self._all(queries[short], k, allowed), strict=True):
                answers[place] = answer
        return answers

    def _look(
        self, queries: np.ndarray, k: int, allowed: np.ndarray, effort: int
    ) -> tuple[np.ndarray, np.ndarray]:
        selector = None
        if not allowed.all():
            bits = np.packbits(allowed, bitorder="little")  # must outlive the search
            selector = self._faiss.IDSelectorBitmap(len(bits), self._faiss.swig_ptr(bits))
        settings = {
            "flat": lambda: self._faiss.SearchParameters(sel=selector),
            "hnsw": lambda: self._faiss.SearchParametersHNSW(sel=selector, efSearch=max(effort, k)),
            "ivfpq": lambda: self._faiss.SearchParametersIVF(
                sel=selector, nprobe=min(effort, self._index.nlist)
            ),
        }[self.method]()
        found: tuple[np.ndarray, np.ndarray] = self._index.search(
            np.ascontiguousarray(queries), k, params=settings
        )
        return found

    def _all(
        self, queries: np.ndarray, k: int, allowed: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best of all that are allowed: of the graph's vectors, or from every cell."""
        if self.method == "hnsw":
            stored = self._faiss.downcast_index(self._index.storage)
            numbers = self._faiss.rev_swig_ptr(stored.get_xb(), len(allowed) * self._dim)
            return scan(numbers.reshape(len(allowed), self._dim), queries, k, allowed)
        products, rows = self._look(queries, k, allowed, self._index.nlist)
        return list(zip(rows, products, strict=True))

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, "effort": self.effort}

    def _save(self, folder: Path) -> None:
        self._faiss.write_index(self._index, str(folder / "vectors.faiss"))

    def _load(self, folder: Path) -> None:
        self._index = self._faiss.read_index(str(folder / "vectors.faiss"))


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise InputError(
            "FAISS is not installed. Install it with: pip install ctl-keras[faiss]"
        ) from None
    return faiss

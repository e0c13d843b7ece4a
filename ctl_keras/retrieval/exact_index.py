from pathlib import Path

import numpy as np

from ctl_keras.retrieval.exact_scan import scan
from ctl_keras.retrieval.index import Index


class ExactIndex(Index):
    """Looks at every product, block by block: as fast as the vectors can be read, and exact.

    The embeddings may lie on disk (`np.memmap`), as those of a `Catalog`; they are not copied. A
    block without an allowed product is not read: products that are sorted by category cost a search
    in one category only their part. Equal distances are ordered as the products are.

    Reference:
        docs/results.md, "Retrieval".
    """

    kind = "exact"

    def __init__(self) -> None:
        super().__init__()
        self._segments: list[np.ndarray] = []

    @property
    def is_exact(self) -> bool:
        return True

    def _build(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        self._segments = [embeddings]

    def _add(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        self._segments.append(embeddings)
        # so that many small additions make few segments; what `build` was given, perhaps on disk,
        # stays as it is
        while len(self._segments) > 2 and len(self._segments[-2]) <= len(self._segments[-1]):
            last = self._segments.pop()
            self._segments[-1] = np.concatenate([self._segments[-1], last])

    def _search(
        self, queries: np.ndarray, k: int, category: int | None, allowed: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        return scan(self._segments, queries, k, self._in_category(category, allowed))

    def _save(self, folder: Path) -> None:
        shape = (sum(map(len, self._segments)), self._dim)
        if not shape[0]:
            np.save(folder / "embeddings.npy", np.zeros(shape, np.float32))
            return
        stored = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float32, shape)
        start = 0
        for segment in self._segments:
            stored[start : start + len(segment)] = segment
            start += len(segment)
        stored.flush()

    def _load(self, folder: Path) -> None:
        # numpy cannot map a file without rows
        self._segments = [
            np.load(folder / "embeddings.npy", mmap_mode="r" if len(self.alive) else None)
        ]

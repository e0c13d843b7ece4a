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
        self._vectors = np.zeros((0, 0), np.float32)

    @property
    def is_exact(self) -> bool:
        return True

    def _build(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        self._vectors = embeddings

    def _search(
        self, queries: np.ndarray, k: int, category: int | None, allowed: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        return scan(self._vectors, queries, k, self._in_category(category, allowed))

    def _save(self, folder: Path) -> None:
        np.save(folder / "embeddings.npy", self._vectors)

    def _load(self, folder: Path) -> None:
        # numpy cannot map a file without rows
        self._vectors = np.load(folder / "embeddings.npy", mmap_mode="r" if len(self) else None)

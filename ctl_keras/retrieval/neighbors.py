from typing import NamedTuple

import numpy as np


class Neighbors(NamedTuple):
    """What an index answers: for each query the nearest products first.

    Attributes:
        ids: object `[queries, k]` of str, `""` where fewer than k were found.
        distances: float32 `[queries, k]`, `2 - query . embedding`, infinite where fewer were found.
        rows: int64 `[queries, k]`, the products' places in the order in which they were built and
            added, -1 where fewer were found. A removed product keeps its place.
        found: int64 `[queries]`, how many were found.
    """

    ids: np.ndarray
    distances: np.ndarray
    rows: np.ndarray
    found: np.ndarray

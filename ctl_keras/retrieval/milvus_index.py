from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.errors import InputError
from ctl_keras.retrieval.index import Index

_INSERT = 4096  # rows of a request
_MOST = 16384  # products that Milvus returns at most


class MilvusIndex(Index):
    """A collection of a Milvus database: embedded (Milvus Lite) or a cluster, with the same code.
    Needs `ctl-keras[milvus]`.

    Milvus keeps vectors and categories; ids are here, and `save` keeps them. A file is open in one
    process at a time.

    Args:
        uri: a file's path that ends in `.db` for Milvus Lite, or an address such as
            `"http://milvus:19530"`.
        collection: str. Its name; `build` drops one of that name. Defaults to `"ctl_products"`.
        token: str. `"user:password"` or a key of the cluster; it is not saved. Defaults to `""`.

    Raises:
        InputError: pymilvus, or for a file Milvus Lite, is not installed, or Milvus cannot be
            reached.
    """

    kind = "milvus"

    def __init__(self, uri: str, collection: str = "ctl_products", token: str = ""):
        super().__init__()
        self.uri, self.collection = str(uri), collection
        self._is_file = "://" not in self.uri
        self._client = _connect(self.uri, token)

    @property
    def is_exact(self) -> bool:
        """A file is searched exactly; which index a server takes, and so how exact it is, is the
        server's choice."""
        return self._is_file

    def _build(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        from pymilvus import DataType

        self._client.drop_collection(self.collection)
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("category", DataType.INT64)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=embeddings.shape[1])
        indexes = self._client.prepare_index_params()
        # in Milvus Lite a graph finds less than there is where a filter leaves little, and makes
        # nothing faster: it spends its time row by row, in Python
        indexes.add_index(
            "embedding", index_type="FLAT" if self._is_file else "AUTOINDEX", metric_type="IP"
        )
        self._client.create_collection(
            self.collection, schema=schema, index_params=indexes, consistency_level="Strong"
        )
        for first in range(0, len(embeddings), _INSERT):
            part = slice(first, first + _INSERT)
            columns = zip(codes[part].tolist(), embeddings[part], strict=True)
            products = [
                {"row": row, "category": code, "embedding": vector}
                for row, (code, vector) in enumerate(columns, first)
            ]
            self._client.insert(self.collection, products)
        # Milvus Lite searches what is not flushed product by product, in Python
        self._client.flush(self.collection)

    def _search(
        self, queries: np.ndarray, k: int, category: int | None, allowed: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        if k > _MOST:
            raise InputError(f"Milvus returns at most {_MOST} products. Received: k={k}")
        if not self._in_category(category, allowed).any():
            return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
        conditions = [] if category is None else [f"category == {category}"]
        others = np.flatnonzero(~allowed)
        # Milvus Lite takes no parameters of filters: the shorter list is written out
        if len(others):
            passing = np.flatnonzero(allowed)
            is_shorter = len(passing) < len(others)
            short = f"in {passing.tolist()}" if is_shorter else f"not in {others.tolist()}"
            conditions.append(f"row {short}")
        answers = self._client.search(
            self.collection, data=list(queries), limit=k, filter=" and ".join(conditions)
        )
        found = []
        for hits in answers:
            rows = np.asarray([hit["row"] for hit in hits], np.int64)
            found.append((rows, np.asarray([hit["distance"] for hit in hits], np.float32)))
        return found

    def _settings(self) -> dict[str, Any]:
        return {"uri": self.uri, "collection": self.collection}

    def _save(self, folder: Path) -> None:
        self._client.flush(self.collection)

    def _load(self, folder: Path) -> None:
        if not self._client.has_collection(self.collection):
            raise InputError(
                f"{self.uri} has no collection {self.collection}. Build the index anew."
            )
        self._client.load_collection(self.collection)


def _connect(uri: str, token: str) -> Any:
    try:
        from pymilvus import MilvusClient, MilvusException

        if "://" not in uri:
            import milvus_lite  # noqa: F401, pymilvus starts it
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed. Install it with: pip install ctl-keras[milvus]"
        ) from None
    try:
        return MilvusClient(uri, token=token)
    except MilvusException as error:
        raise InputError(
            f"Milvus at {uri} cannot be opened: {error}. A file is open in one process at a time."
        ) from None

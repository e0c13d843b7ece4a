"""What every index of products has in common: ids, categories, filters, checks, and how it is
stored."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ctl_keras.catalog.ids import ids_mask
from ctl_keras.errors import InputError
from ctl_keras.files import new_generation, newest_generation, read_json, write_json
from ctl_keras.locks import changed_folder
from ctl_keras.retrieval.index_input import checked, checked_queries, query_groups
from ctl_keras.retrieval.neighbors import Neighbors

FORMAT = 2

Ids = Sequence[str] | np.ndarray


class Index(abc.ABC):
    """Products by their embeddings, to be searched by a scene's query: the largest inner product is
    the smallest distance.

    The interface is that of TensorFlow Recommenders' `TopK` layers, with filters. Products change
    in the catalog, and an index is built from it anew.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self._ids: Any = None
        self._names: list[str] = []  # of the categories
        self._codes = np.zeros(0, np.int32)  # of each row's category
        self._dim = 0

    @property
    @abc.abstractmethod
    def is_exact(self) -> bool:
        """Whether a search returns the nearest products, and not only nearly so."""

    @property
    def is_built(self) -> bool:
        """Whether it has products, so that it can be searched."""
        return self._ids is not None

    @property
    def ids(self) -> Any:
        """Pyarrow string array `[rows]`."""
        self._require_built()
        return self._ids

    def __len__(self) -> int:
        return len(self._codes)

    def build(self, embeddings: np.ndarray, ids: Any, categories: Any) -> "Index":
        """Takes the products of a catalog in place of those it had.

        Args:
            embeddings: float32 `[products, dim]`, finite.
            ids: str `[products]`, all different; a sequence or a pyarrow array.
            categories: str `[products]`; a sequence or a pyarrow array.

        Returns:
            The index.

        Raises:
            InputError: lengths that differ, an id that occurs twice, or a vector that is not
                finite.

        Example:
            >>> index = ExactIndex().build(catalog.embeddings, catalog.ids, catalog.categories)
        """
        embeddings, texts, labels = checked(embeddings, ids, categories)
        codes = np.asarray(labels.indices)
        self._ids, self._dim = None, embeddings.shape[1]  # not built, if what follows fails
        self._build(embeddings, codes)
        self._ids, self._names, self._codes = texts, labels.dictionary.to_pylist(), codes
        return self

    def mask(self, ids: Ids) -> np.ndarray:
        """Which rows have one of some ids.

        Args:
            ids: the ids.

        Returns:
            Bool array `[rows]`.

        Raises:
            InputError: an id that the index does not have.
        """
        self._require_built()
        return ids_mask(self._ids, ids)

    def search(
        self,
        query: np.ndarray,
        k: int,
        category: str | Sequence[str] | None = None,
        include: Ids | None = None,
        exclude: Ids | None = None,
    ) -> Neighbors:
        """The nearest products.

        Args:
            query: float32 `[queries, dim]`, or `[dim]`, from `scene_tower` or the signature
                `embed_scene`.
            k: int. Products for each query.
            category: of the products, one for all queries or one for each. Defaults to None: any.
            include: ids, or a bool mask over the rows (see `Catalog.where`): no other products are
                returned. Defaults to None.
            exclude: ids, or a bool mask, of products that are not returned. Defaults to None.

        Returns:
            `Neighbors`, with fewer than k where no more products pass.

        Raises:
            InputError: no `build` yet, a wrong k or query, or a category or id that no product has.
        """
        self._require_built()
        queries = checked_queries(query, self._dim)
        if k < 1:
            raise InputError(f"`k` must be positive. Received: {k}")
        allowed = np.ones(len(self), bool)
        if include is not None:
            allowed = allowed & self._filter("include", include)
        if exclude is not None:
            allowed = allowed & ~self._filter("exclude", exclude)
        found = np.zeros(len(queries), np.int64)
        rows = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for code, places in query_groups(category, len(queries), self._names):
            answers = self._search(queries[places], k, code, allowed)
            for place, (nearest, products) in zip(places, answers, strict=True):
                count = found[place] = len(nearest)
                rows[place, :count], distances[place, :count] = nearest, 2 - products
        ids = np.full((len(queries), k), "", object)
        if found.any():
            ids[rows >= 0] = self._ids.take(pa.array(rows[rows >= 0])).to_pylist()
        return Neighbors(ids, distances, rows, found)

    def save(self, folder: str | Path) -> None:
        """Writes the index; one that is there is replaced at once, or, if the process is killed,
        not at all.

        Args:
            folder: where to.

        Raises:
            InputError: it has no products.
        """
        self._require_built()
        with changed_folder(folder), new_generation(folder) as new:
            table = pa.table({"id": self._ids, "category": self._codes})
            with (
                pa.OSFile(str(new / "products.arrow"), "wb") as file,
                pa.ipc.new_file(file, table.schema) as writer,
            ):
                writer.write_table(table)
            self._save(new)
            manifest = {"format": FORMAT, "kind": self.kind, "dim": self._dim}
            manifest |= {"categories": self._names, "settings": self._settings()}
            write_json(new / "manifest.json", manifest)

    @classmethod
    def load(cls, folder: str | Path) -> "Index":
        """Opens what `save` wrote.

        Args:
            folder: where it is.

        Returns:
            The index.

        Raises:
            InputError: there is no index, or one of another kind.
        """
        newest = newest_generation(folder)
        if newest is None:
            raise InputError(f"{folder} holds no index. `save` writes one.")
        manifest = read_json(newest / "manifest.json", "The manifest of the index")
        if (manifest["format"], manifest["kind"]) != (FORMAT, cls.kind):
            raise InputError(
                f"{folder} holds an index of the kind {manifest['kind']}, format "
                f"{manifest['format']}; {cls.__name__} reads {cls.kind}, format {FORMAT}."
            )
        index = cls(**manifest["settings"])
        table = pa.ipc.open_file(pa.memory_map(str(newest / "products.arrow"))).read_all()
        index._ids, index._names, index._dim = table["id"], manifest["categories"], manifest["dim"]
        index._codes = np.array(table["category"])
        index._load(newest)
        return index

    @abc.abstractmethod
    def _build(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        """Takes vectors and category codes in place of those it had."""

    @abc.abstractmethod
    def _search(
        self, queries: np.ndarray, k: int, category: int | None, allowed: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each query rows and inner products of the nearest, best first. `category` is a code,
        `allowed` a mask of rows."""

    @abc.abstractmethod
    def _save(self, folder: Path) -> None: ...

    @abc.abstractmethod
    def _load(self, folder: Path) -> None: ...

    def _settings(self) -> dict[str, Any]:
        return {}

    def _in_category(self, category: int | None, allowed: np.ndarray) -> np.ndarray:
        return allowed if category is None else allowed & (self._codes == category)

    def _require_built(self) -> None:
        if not self.is_built:
            raise InputError("The index holds nothing yet: call `build` first.")

    def _filter(self, name: str, given: Ids) -> np.ndarray:
        if isinstance(given, np.ndarray) and given.dtype == bool:
            if given.shape != (len(self),):
                raise InputError(
                    f"`{name}` must be [{len(self)}], one for each row. Received: "
                    f"{list(given.shape)}"
                )
            return given
        if isinstance(given, str):
            raise InputError(f"`{name}` must be a list of ids. Received: {given!r}")
        try:
            return self.mask(given)
        except InputError as error:
            raise InputError(f"`{name}`: {error}") from None

"""What every index of products has in common: ids, categories, filters, checks, and how it is
stored."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.catalog.ids import ids_mask
from ctl_keras.errors import InputError
from ctl_keras.files import new_generation, newest_generation, read_json, write_json
from ctl_keras.locks import changed_folder
from ctl_keras.retrieval.index_input import checked, checked_queries, coded, query_groups
from ctl_keras.retrieval.neighbors import Neighbors

FORMAT = 1
_CHUNKS = 64

Ids = Sequence[str] | np.ndarray


class Index(abc.ABC):
    """Products by their embeddings, to be searched by a scene's query: the largest inner product is
    the smallest distance.

    The interface is that of TensorFlow Recommenders' `TopK` layers, with filters. Not for several
    threads that change it.

    Attributes:
        alive: bool `[rows]`, false for products that were removed.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self._ids: Any = None
        self._names: list[str] = []  # of the categories
        self._codes = np.zeros(0, np.int32)  # of each row's category
        self.alive = np.zeros(0, bool)
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
        """Of all rows, those that were removed too: pyarrow string array `[rows]`."""
        self._require_built()
        return self._ids

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

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
        names, codes = coded([], labels)
        self._ids, self._dim = None, embeddings.shape[1]  # not built, if what follows fails
        self._build(embeddings, codes)
        self._ids, self._names, self._codes = texts, names, codes
        self.alive = np.ones(len(texts), bool)
        return self

    def add(self, embeddings: np.ndarray, ids: Any, categories: Any) -> None:
        """Adds products. An id that was removed may come again.

        Args: as `build`.

        Raises:
            InputError: as `build`; an id that the index has already, or vectors of another size.
        """
        self._require_built()
        embeddings, texts, labels = checked(embeddings, ids, categories)
        if embeddings.shape[1] != self._dim:
            raise InputError(
                f"The index holds vectors of {self._dim} numbers. Received: "
                f"{list(embeddings.shape)}"
            )
        same = np.asarray(pc.is_in(self._ids, value_set=texts))
        here = self._ids.filter(pa.array(same & self.alive))
        if known := texts.filter(pc.is_in(texts, value_set=here)).to_pylist():
            raise InputError(
                f"The index has a product of the id {known[0]!r} already ({len(known)} such). "
                "Remove it first."
            )
        names, codes = coded(self._names, labels)
        self._add(embeddings, codes)
        chunks = [*self._ids.chunks, *texts.chunks]
        # one row is found in microseconds in one chunk, in milliseconds in a thousand
        chunks = chunks if len(chunks) <= _CHUNKS else [pa.concat_arrays(chunks)]
        self._ids = pa.chunked_array(chunks, pa.string())
        self._names, self._codes = names, np.concatenate([self._codes, codes])
        self.alive = np.concatenate([self.alive, np.ones(len(texts), bool)])

    def remove(self, ids: Ids) -> int:
        """Removes products. Their rows, and the memory of their vectors, stay until the next
        `build`.

        Args:
            ids: those of the products.

        Returns:
            How many were removed.

        Raises:
            InputError: an id that the index does not have; none is removed then.
        """
        mask = self.mask(ids)
        self.alive = self.alive & ~mask
        return int(mask.sum())

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
        return ids_mask(self._ids, ids, self.alive)

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
        allowed = self.alive
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
            table = pa.table({"id": self._ids, "category": self._codes, "alive": self.alive})
            with (
                pa.OSFile(str(new / "products.arrow"), "wb") as file,
                pa.ipc.new_file(file, table.schema) as writer,
            ):
                writer.write_table(table)
            self._save(new)
            manifest = {"format": FORMAT, "kind": self.kind, "dim": self._dim}
            manifest |= {"categories": self._names, "settings": self._settings()}
            write_json(new / "manifest.json", manifest)
        self._saved()

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
        index._codes, index.alive = np.array(table["category"]), np.array(table["alive"])
        index._load(newest)
        return index

    @abc.abstractmethod
    def _build(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        """Takes vectors and category codes in place of those it had."""

    @abc.abstractmethod
    def _add(self, embeddings: np.ndarray, codes: np.ndarray) -> None:
        """Takes them behind those it has. What is removed later stays, and is never allowed."""

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

    def _saved(self) -> None:  # noqa: B027, most have nothing to do
        """What has to wait until the new state counts; `load` makes up for it after a kill."""

    def _settings(self) -> dict[str, Any]:
        return {}

    def _in_category(self, category: int | None, allowed: np.ndarray) -> np.ndarray:
        return allowed if category is None else allowed & (self._codes == category)

    def _require_built(self) -> None:
        if not self.is_built:
            raise InputError("The index holds nothing yet: call `build` first.")

    def _filter(self, name: str, given: Ids) -> np.ndarray:
        if isinstance(given, np.ndarray) and given.dtype == bool:
            if given.shape != self.alive.shape:
                raise InputError(
                    f"`{name}` must be [{len(self.alive)}], one for each row. Received: "
                    f"{list(given.shape)}"
                )
            return given
        if isinstance(given, str):
            raise InputError(f"`{name}` must be a list of ids. Received: {given!r}")
        try:
            return self.mask(given)
        except InputError as error:
            raise InputError(f"`{name}`: {error}") from None

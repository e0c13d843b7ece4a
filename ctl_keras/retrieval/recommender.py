"""Which products of a catalog complete a scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.catalog.catalog import Catalog
from ctl_keras.data.picture_files import Picture
from ctl_keras.errors import InputError
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.index import Index
from ctl_keras.servable.catalog_signatures import CANDIDATES, MOST
from ctl_keras.servable.local_model import LocalModel


class Recommender:
    """Finds the products that complete a scene, for one category or for a whole look.

    Args:
        model: an export, see `LocalModel`.
        catalog: a catalog that this model embedded, see `Catalog`.
        index: an `Index` without products; it is built from the catalog. Defaults to
            `ExactIndex()`. One that holds products already, because it was loaded, must have been
            built from this catalog.

    Attributes:
        model: `LocalModel`, the export.
        catalog: `Catalog`.
        index: `Index`.
        is_exact: bool, whether answers are the nearest products by the model's own distance. Not so
            with an approximate index, nor with plain norms and product attention: those retrieve
            candidates by inner product and rank them exactly.

    Raises:
        InputError: no export, no catalog, a catalog of another model, or an index of another
            catalog.

    Example:
        >>> recommender = Recommender("saved_models/looks", "catalogs/shop")
        >>> recommender.recommend("street.jpg", ["Shoes", "Hats"], k=5, where="price < 50")
    """

    def __init__(self, model: str | Path, catalog: str | Path, index: Index | None = None):
        self.model, self.catalog = LocalModel(model), Catalog(catalog)
        self.catalog.require_model(self.model.manifest, model)
        self.index = ExactIndex() if index is None else index  # an empty one is false
        if not self.index.is_built:
            self.index.build(self.catalog.embeddings, self.catalog.ids, self.catalog.categories)
        elif not self.index.ids.equals(self.catalog.ids):
            raise InputError(
                f"The index was not built from the catalog {catalog}, or not from its newest "
                "state. Build it anew."
            )
        same = np.flatnonzero(np.diff(self.catalog.pictures) == 0)
        self._sharing = np.union1d(same, same + 1)  # rows whose picture others have, too

    @property
    def is_exact(self) -> bool:
        """Whether it returns the nearest products, and not only nearly so: index and model are
        exact."""
        return self.index.is_exact and bool(self.model.manifest["query_is_exact"])

    def recommend(
        self,
        scene: Picture,
        categories: Sequence[str],
        k: int = 10,
        where: str | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """The nearest products of each category; the scene goes through the network once.

        Of products that have the same picture (the same file, or the same pixels in another one)
        the first that passes is returned, and names the others; see `build_catalog` for catalogs
        that keep them.

        Args:
            scene: picture, see `Client`.
            categories: whole paths or last parts.
            k: int. Products of each category. Defaults to 10.
            where: str. Expression over the catalog's columns that products must fulfil, such as
                `"price < 50"`; see `Catalog.where`.
            include: ids. If given, no other products are returned.
            exclude: ids that are not returned.

        Returns:
            Category, as it was asked for -> dicts of the product's columns, `hybrid_distance` and
            `same_picture`, the ids of the others that pass, nearest first. Fewer than k where the
            catalog has no more that pass.

        Raises:
            InputError: a wrong k, no category, an unknown category, id or column, or a scene that
                can't be decoded.
        """
        if k < 1:
            raise InputError(f"`k` must be positive. Received: {k}")
        if not categories:
            raise InputError("Name at least one category.")
        paths = [self.model.category_path(category) for category in categories]
        file = self.model.scene_bytes(scene)
        queries = self.model.embed_scene(file, paths)["query"]
        allowed = np.ones(len(self.catalog), bool)
        if where is not None:
            allowed &= self.catalog.where(where)
        for ids, wanted in ((include, True), (exclude, False)):
            if ids is not None:
                allowed &= self.catalog.mask(ids) == wanted
        rows, first = self._sharing[allowed[self._sharing]], allowed.copy()
        first[rows[1:][np.diff(self.catalog.pictures[rows]) == 0]] = False
        return {
            category: self._nearest(file, path, query, k, allowed, first)
            for category, path, query in zip(categories, paths, queries, strict=True)
        }

    def _nearest(
        self,
        scene: bytes,
        category: str,
        query: np.ndarray,
        k: int,
        allowed: np.ndarray,
        first: np.ndarray,
    ) -> list[dict[str, Any]]:
        if category not in self.catalog.manifest["categories"]:
            return []
        # as many as the SavedModel looks at, so that both answer the same
        count = k if self.is_exact else CANDIDATES * max(k, MOST)
        found = self.index.search(query, count, category, include=first)
        rows, distances = found.rows[0, : found.found[0]], found.distances[0, : found.found[0]]
        if not self.is_exact:
            embeddings = np.asarray(self.catalog.embeddings[rows])
            distances = self.model.distances(scene, category, embeddings)
            order = np.argsort(distances, kind="stable")[:k]
            rows, distances = rows[order], distances[order]
        products = zip(rows.tolist(), self.catalog.products(rows), distances.tolist(), strict=True)
        return [
            {**product, "hybrid_distance": distance, "same_picture": self._others(row, allowed)}
            for row, product, distance in products
        ]

    def _others(self, row: int, allowed: np.ndarray) -> list[str]:
        """Ids of the allowed products behind a row that have its picture."""
        pictures = self.catalog.pictures
        end = np.searchsorted(pictures, pictures[row], side="right")
        others: list[str] = self.catalog.ids[row:end].filter(allowed[row:end]).to_pylist()[1:]
        return others


def format_products(answer: dict[str, list[dict[str, Any]]], k: int) -> str:
    """What `recommend` answered, for people, one product a line."""
    lines = []
    for category, rows in answer.items():
        lines += [category] if len(answer) > 1 else []
        for row in rows:
            lines.append(f"{row['hybrid_distance']:.4f}  {row['id']}  {row['image']}")
            if others := row["same_picture"]:
                lines.append(f"        also with this picture: {', '.join(others)}")
        if len(rows) < k:
            same = sum(len(row["same_picture"]) for row in rows)
            but = f", but {same} with a picture that is above" if same else ""
            lines.append(f"({len(rows)} of {k}: no more products of {category} pass{but})")
    return "\n".join(lines)

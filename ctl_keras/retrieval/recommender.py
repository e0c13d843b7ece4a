"""Which products of a catalog complete a scene."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.errors import InputError
from ctl_keras.retrieval.catalog import Catalog
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.index import Index
from ctl_keras.serving.local import LocalModel

# squared distance: a photo saved anew is nearer, other products are farther (docs/results.md)
SAME_PRODUCT = 0.05
_CANDIDATES = 10  # times k: what is looked at where the index is not the model's own distance


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

    @property
    def is_exact(self) -> bool:
        """Whether it returns the nearest products, and not only nearly so: index and model are
        exact."""
        return self.index.is_exact and bool(self.model.manifest["query_is_exact"])

    def recommend(
        self,
        scene: str | Path,
        categories: Sequence[str],
        k: int = 10,
        where: str | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """The nearest products of each category; the scene goes through the network once.

        Of products that are all but the same picture (`SAME_PRODUCT`) only the nearest is returned.

        Args:
            scene: picture file.
            categories: whole paths or last parts.
            k: int. Products of each category. Defaults to 10.
            where: str. Expression over the catalog's columns that products must fulfil, such as
                `"price < 50"`; see `Catalog.where`.
            include: ids. If given, no other products are returned.
            exclude: ids that are not returned.

        Returns:
            Category, as it was asked for -> dicts of the product's columns and `hybrid_distance`,
            nearest first. Fewer than k where the catalog has no more that pass.

        Raises:
            InputError: a wrong k, no category, an unknown category, id or column, or a scene that
                can't be decoded.
        """
        if k < 1:
            raise InputError(f"`k` must be positive. Received: {k}")
        if not categories:
            raise InputError("Name at least one category.")
        queries = self.model.embed_scene(scene, categories)["query"]
        allowed = None if where is None else self.catalog.where(where)
        for ids, wanted in ((include, True), (exclude, False)):
            if ids is not None:
                named = self.catalog.mask(ids) == wanted
                allowed = named if allowed is None else allowed & named
        paths = [self.model.category_path(category) for category in categories]
        return {
            category: self._nearest(scene, path, query, k, allowed)
            for category, path, query in zip(categories, paths, queries, strict=True)
        }

    def _nearest(
        self,
        scene: str | Path,
        category: str,
        query: np.ndarray,
        k: int,
        allowed: np.ndarray | None,
    ) -> list[dict[str, Any]]:
        if category not in self.catalog.manifest["categories"]:
            return []
        count = k if self.is_exact else _CANDIDATES * k
        while True:
            found = self.index.search(query, count, category, include=allowed)
            rows, distances = found.rows[0, : found.found[0]], found.distances[0, : found.found[0]]
            embeddings = np.asarray(self.catalog.embeddings[rows])
            if not self.is_exact:
                distances = self.model.distances(scene, category, embeddings)
                order = np.argsort(distances, kind="stable")
                rows, distances, embeddings = rows[order], distances[order], embeddings[order]
            kept = _different(embeddings, k)
            if len(kept) == k or len(rows) < count:
                products = self.catalog.products(rows[kept])
                return [
                    {**product, "hybrid_distance": float(distance)}
                    for product, distance in zip(products, distances[kept], strict=True)
                ]
            count *= 4


def format_products(answer: dict[str, list[dict[str, Any]]], k: int) -> str:
    """What `recommend` answered, for people, one product a line."""
    lines = []
    for category, rows in answer.items():
        lines += [category] if len(answer) > 1 else []
        lines += [f"{row['hybrid_distance']:.4f}  {row['id']}  {row['image']}" for row in rows]
        lines += (
            [f"({len(rows)} of {k}: no more products of {category} pass)"] if len(rows) < k else []
        )
    return "\n".join(lines)


def _different(embeddings: np.ndarray, k: int) -> list[int]:
    """The first k rows, without those that are all but an earlier one."""
    kept: list[int] = []
    for row, embedding in enumerate(embeddings):
        if len(kept) == k:
            break
        if not kept or 2 - 2 * (embeddings[kept] @ embedding).max() > SAME_PRODUCT:
            kept.append(row)
    return kept

"""What a model can be asked, on a server or in this process: arguments as rows of a signature's
inputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ctl_keras.client.address import Address
from ctl_keras.client.call import Answer, Call, Column, lists, pictures, texts, vectors
from ctl_keras.client.connection import Connection
from ctl_keras.data.picture_files import Picture
from ctl_keras.errors import InputError

R = TypeVar("R")
Pictures = Picture | Sequence[Picture]
Texts = str | Sequence[str]


class Methods(Generic[R]):
    """The methods of `Client`, `AsyncClient` and `LocalModel`, which differ in how `_run` gets the
    answer."""

    def _run(self, call: Call) -> R:
        raise NotImplementedError

    def score(self, scene: Picture, products: Pictures, category: str) -> R:
        """Distances from one scene to products of one category.

        The scene is sent once a product, and products are embedded anew: with many, use
        `embed_scene` once and stored embeddings, or `rerank`.

        Args:
            scene: picture.
            products: P pictures.
            category: str, the products' category.

        Returns:
            `hybrid_distance`, `global_distance`, `local_distance` and `compatibility` (calibrated
            probability), float32 `[P]`, and `valid`, bool `[P]`.
        """
        return self.score_pairs(scene, products, category)

    def score_pairs(self, scenes: Pictures, products: Pictures, categories: Texts) -> R:
        """Distances of B pairs of a scene and a product.

        Args:
            scenes: B pictures, or one.
            products: B pictures, or one.
            categories: B strings, or one: the products' categories.

        Returns:
            As `score`, `[B]`.
        """
        columns = {**_scene(scenes, categories), "product_bytes": pictures("products", products)}
        return self._run(Call("serving_default", columns))

    def embed_scene(self, scenes: Pictures, categories: Texts) -> R:
        """Queries for products that complete B scenes.

        Args:
            scenes: B pictures, or one.
            categories: B strings, or one: the category wanted.

        Returns:
            `query` `[B, d]`, `global_embedding` `[B, d]`, `attention` `[B, rows, columns]`,
            float32, and `valid`, bool `[B]`. `2 - query @ embedding` is the hybrid distance to a
            product of that embedding, where the model has `score_embeddings`.
        """
        return self._run(Call("embed_scene", _scene(scenes, categories)))

    def embed_product(self, products: Pictures) -> R:
        """Embeddings of products.

        Args:
            products: B pictures, or one.

        Returns:
            `embedding`, float32 `[B, d]`, and `valid`, bool `[B]`.
        """
        return self._run(Call("embed_product", {"product_bytes": pictures("products", products)}))

    def score_embeddings(self, query: Any, embedding: Any) -> R:
        """Distances of stored vectors.

        Args:
            query: float array `[B, d]`, or `[d]`, one for all rows.
            embedding: float array `[B, d]`, or `[d]`, one for all rows.

        Returns:
            `hybrid_distance`, float32 `[B]`.

        Raises:
            ServingError: also if the model's distance has no inner-product form; see
                `docs/serving.md`.
        """
        columns = {"query": vectors("query", query), "embedding": vectors("embedding", embedding)}
        shapes = [list(column.values.shape) for column in columns.values()]
        if shapes[0][-1] != shapes[1][-1]:
            raise InputError(f"`query` and `embedding` need the same d. Received: {shapes}")
        return self._run(Call("score_embeddings", columns))

    def recommend(
        self,
        scenes: Pictures,
        categories: Texts,
        k: int | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
    ) -> R:
        """The products of the export's catalog that complete B scenes best, nearest first.

        Args:
            scenes: B pictures, or one.
            categories: B strings, or one: the category wanted.
            k: int, at most the K of the export. Defaults to K.
            exclude: B lists of ids to leave out, such as what somebody has bought. A product with
                the same picture takes the place of one that is left out. Defaults to none.

        Returns:
            `product_id`, str `[B, k]`, `hybrid_distance`, float32 `[B, k]`, and `valid`, bool
            `[B]`.

        Raises:
            InputError: also if `k` is larger than K.
            ServingError: also if the export has no catalog.
        """
        if k is not None and k < 1:
            raise InputError(f"`k` must be positive. Received: {k}")

        def nearest(answer: Answer) -> Answer:
            rows, most = answer["product_id"].shape
            if k is not None and k > most and rows:
                hint = "Lower `k`."
                raise InputError(f"`k` is {k}, but the export recommends {most} products. {hint}")
            return {
                name: value[:, :k] if value.ndim == 2 else value for name, value in answer.items()
            }

        if exclude is None:
            return self._run(Call("recommend", _scene(scenes, categories), nearest))
        most = max(map(len, exclude), default=0)
        filled = [[*ids, *[""] * (max(most, 1) - len(ids))] for ids in exclude]
        columns = {**_scene(scenes, categories), "exclude": lists("exclude", filled)}
        return self._run(Call("recommend_excluding", columns, nearest))

    def rerank(
        self, scenes: Pictures, categories: Texts, product_ids: Sequence[Sequence[str]]
    ) -> R:
        """Distances from B scenes to M products each of the export's catalog.

        Args:
            scenes: B pictures, or one.
            categories: B strings, or one.
            product_ids: B lists of M ids.

        Returns:
            `hybrid_distance`, float32 `[B, M]`, and `known`, bool `[B, M]`: whether the catalog has
            the product.

        Raises:
            ServingError: also if the export has no catalog.
        """
        ids = lists("product_ids", product_ids)
        most = len(ids.values[0]) if ids.values else 0
        columns = {**_scene(scenes, categories), "product_id": ids}

        # a server that joins requests pads them to the longest, and cuts the rows only
        def asked(answer: Answer) -> Answer:
            return {name: value[:, :most] for name, value in answer.items()}

        return self._run(Call("rerank", columns, asked))


class ServedMethods(Methods[R]):
    """The methods, asked of a server. Args: as `Client`."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        batch_size: int = 32,
        ca_file: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        address = Address(url, model, version, label, ca_file, headers)
        self._connection = Connection(address, timeout, retries, batch_size)


def _scene(scenes: Pictures, categories: Texts) -> dict[str, Column]:
    return {"scene_bytes": pictures("scenes", scenes), "category": texts("categories", categories)}

"""The client of TensorFlow Serving, over REST or gRPC."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctl_keras.data.picture_files import Picture
from ctl_keras.serving import client_calls
from ctl_keras.serving.client_answers import Answer
from ctl_keras.serving.client_calls import Call
from ctl_keras.serving.client_rest import RestTransport
from ctl_keras.serving.client_retries import Attempts
from ctl_keras.serving.client_target import Limits, Target
from ctl_keras.serving.serving_error import ServingError


class Client:
    """A served Complete-the-Look model, the same over REST and gRPC.

    Args:
        url: "http://HOST:8501" for REST, which needs no TensorFlow, or "grpc://HOST:8500";
            "https://" and "grpcs://" with TLS.
        model: str. The name that the server gives the model.
        version: int. Defaults to the server's newest.
        label: str. A version label such as "stable", in place of a version. Defaults to none.
        timeout: float, seconds. Deadline of each request, its retries included. Defaults to 30.
        retries: int. How often a request is sent again when the server is unavailable (gRPC
            UNAVAILABLE, HTTP 429, 502, 503, no connection, a cut one), with exponential backoff and
            jitter. Other errors are never retried. Defaults to 2.
        batch_size: int. Most rows a request; longer lists are split. Servers that batch refuse more
            than the last of their allowed batch sizes. Defaults to 32.
        ca_file: str. Certificates to trust, PEM. Defaults to the system's.
        headers: dict. Sent with each request, such as `{"authorization": "Bearer …"}`. Defaults to
            none.

    Pictures are paths, files' bytes, uint8 arrays `[height, width, 3]` or Pillow pictures (see
    `picture_bytes`). Categories are the training categories, whole path or last part: one string
    for all rows, or one a row. Results are dicts of numpy arrays, in the order given. A row with a
    picture that can't be decoded or an unknown category has `valid` False, zero embeddings and the
    largest possible distance; it fails no other row. Empty lists give empty arrays without a
    request.

    One client can be shared by threads, and should be: it keeps its connections. It is a context
    manager.

    Raises (each method):
        InputError: arguments that don't fit, a picture that is missing.
        ServingError: the server refused or could not be reached.

    Example:

    ```python
    with ctl.Client("http://localhost:8501", model="looks") as client:
        client.score("scene.jpg", ["shoe.jpg", "boot.png"], "Shoes")["hybrid_distance"]
    ```
    """

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
        self._limits = Limits(timeout, retries, batch_size)
        target = Target(url, model, version, label, ca_file, headers)
        self._transport: Any
        if target.is_grpc:
            from ctl_keras.serving.client_grpc import GrpcTransport

            self._transport = GrpcTransport(target)
        else:
            self._transport = RestTransport(target)

    def score(self, scene: Picture, products: Sequence[Picture], category: str) -> Answer:
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
        return self._run(client_calls.score, scene, products, category)

    def score_pairs(
        self,
        scenes: Sequence[Picture],
        products: Sequence[Picture],
        categories: str | Sequence[str],
    ) -> Answer:
        """Distances of B pairs of a scene and a product.

        Args:
            scenes: B pictures.
            products: B pictures.
            categories: str, or B of them: the products' categories.

        Returns:
            As `score`, `[B]`.
        """
        return self._run(client_calls.score_pairs, scenes, products, categories)

    def embed_scene(self, scenes: Sequence[Picture], categories: str | Sequence[str]) -> Answer:
        """Queries for products that complete B scenes.

        Args:
            scenes: B pictures.
            categories: str, or B of them: the category wanted.

        Returns:
            `query` `[B, d]`, `global_embedding` `[B, d]`, `attention` `[B, rows, columns]`,
            float32, and `valid`, bool `[B]`. `2 - query @ embedding` is the hybrid distance to a
            product of that embedding, where the model has `score_embeddings`.
        """
        return self._run(client_calls.embed_scene, scenes, categories)

    def embed_product(self, products: Sequence[Picture]) -> Answer:
        """Embeddings of products.

        Args:
            products: B pictures.

        Returns:
            `embedding`, float32 `[B, d]`, and `valid`, bool `[B]`.
        """
        return self._run(client_calls.embed_product, products)

    def score_embeddings(self, query: Any, embedding: Any) -> Answer:
        """Distances of stored vectors.

        Args:
            query: float array `[B, d]`, or `[d]`, one for all rows.
            embedding: float array `[B, d]`.

        Returns:
            `hybrid_distance`, float32 `[B]`.

        Raises:
            ServingError: also if the model's distance has no inner-product form; see
                `docs/serving.md`.
        """
        return self._run(client_calls.score_embeddings, query, embedding)

    def recommend(
        self, scenes: Sequence[Picture], categories: str | Sequence[str], k: int | None = None
    ) -> Answer:
        """The products of the export's catalog that complete B scenes best, nearest first.

        Args:
            scenes: B pictures.
            categories: str, or B of them: the category wanted.
            k: int, at most the K of the export. Defaults to K.

        Returns:
            `product_id`, str `[B, k]`, `hybrid_distance`, float32 `[B, k]`, and `valid`, bool
            `[B]`.

        Raises:
            InputError: also if `k` is larger than K.
            ServingError: also if the export has no catalog.
        """
        return self._run(client_calls.recommend, scenes, categories, k)

    def rerank(
        self,
        scenes: Sequence[Picture],
        categories: str | Sequence[str],
        product_ids: Sequence[Sequence[str]],
    ) -> Answer:
        """Distances from B scenes to M products each of the export's catalog.

        Args:
            scenes: B pictures.
            categories: str, or B of them.
            product_ids: B lists of M ids.

        Returns:
            `hybrid_distance`, float32 `[B, M]`, and `known`, bool `[B, M]`: whether the catalog has
            the product.

        Raises:
            ServingError: also if the export has no catalog.
        """
        return self._run(client_calls.rerank, scenes, categories, product_ids)

    def metadata(self) -> dict[str, Any]:
        """The served version and its signatures.

        Returns:
            `{"model": str, "version": int, "signatures": {SIGNATURE: {"inputs": TENSORS, "outputs":
            TENSORS}}}`, where TENSORS is `{NAME: {"dtype": str, "shape": list}}`, with -1 for a
            dimension of any size.
        """
        return self._send(self._transport.metadata)

    def status(self) -> list[dict[str, Any]]:
        """The versions that the server knows.

        Returns:
            Newest first, a dict each: `version`, int, `state` ("AVAILABLE"…) and `error`.
        """
        return self._send(self._transport.status)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, plan: Callable[..., Call], *arguments: Any) -> Answer:
        call = plan(*arguments, self._limits.batch_size)
        return call.finish(
            [self._send(self._transport.predict, request) for request in call.requests]
        )

    def _send(self, method: Callable[..., Any], *arguments: Any) -> Any:
        attempts = Attempts(self._limits)
        while True:
            try:
                return method(*arguments, attempts.remaining)
            except ServingError as error:
                time.sleep(attempts.pause(error))

"""The client for asyncio."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctl_keras.data.picture_files import Picture
from ctl_keras.serving import client_calls
from ctl_keras.serving.client_answers import Answer
from ctl_keras.serving.client_calls import Call
from ctl_keras.serving.client_rest import AsyncRestTransport
from ctl_keras.serving.client_retries import Attempts
from ctl_keras.serving.client_target import Limits, Target
from ctl_keras.serving.serving_error import ServingError


class AsyncClient:
    """`Client` with coroutines: the same arguments, results and errors.

    It belongs to the event loop that runs at its first request. Pictures are read and encoded in
    threads, off the event loop. The portions of a long list are sent one after the other; gather
    calls to send several at once.

    Args: as `Client`.

    Example:

    ```python
    async with ctl.AsyncClient("grpc://localhost:8500", model="looks") as client:
        calls = [client.embed_scene(scenes, name) for name in ("Shoes", "Handbags")]
        shoes, bags = await asyncio.gather(*calls)
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
            from ctl_keras.serving.client_grpc import AsyncGrpcTransport

            self._transport = AsyncGrpcTransport(target)
        else:
            self._transport = AsyncRestTransport(target)

    async def score(self, scene: Picture, products: Sequence[Picture], category: str) -> Answer:
        """See `Client.score`."""
        return await self._run(client_calls.score, scene, products, category)

    async def score_pairs(
        self,
        scenes: Sequence[Picture],
        products: Sequence[Picture],
        categories: str | Sequence[str],
    ) -> Answer:
        """See `Client.score_pairs`."""
        return await self._run(client_calls.score_pairs, scenes, products, categories)

    async def embed_scene(
        self, scenes: Sequence[Picture], categories: str | Sequence[str]
    ) -> Answer:
        """See `Client.embed_scene`."""
        return await self._run(client_calls.embed_scene, scenes, categories)

    async def embed_product(self, products: Sequence[Picture]) -> Answer:
        """See `Client.embed_product`."""
        return await self._run(client_calls.embed_product, products)

    async def score_embeddings(self, query: Any, embedding: Any) -> Answer:
        """See `Client.score_embeddings`."""
        return await self._run(client_calls.score_embeddings, query, embedding)

    async def recommend(
        self, scenes: Sequence[Picture], categories: str | Sequence[str], k: int | None = None
    ) -> Answer:
        """See `Client.recommend`."""
        return await self._run(client_calls.recommend, scenes, categories, k)

    async def rerank(
        self,
        scenes: Sequence[Picture],
        categories: str | Sequence[str],
        product_ids: Sequence[Sequence[str]],
    ) -> Answer:
        """See `Client.rerank`."""
        return await self._run(client_calls.rerank, scenes, categories, product_ids)

    async def metadata(self) -> dict[str, Any]:
        """See `Client.metadata`."""
        return await self._send(self._transport.metadata)

    async def status(self) -> list[dict[str, Any]]:
        """See `Client.status`."""
        return await self._send(self._transport.status)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, plan: Callable[..., Call], *arguments: Any) -> Answer:
        call = await asyncio.to_thread(plan, *arguments, self._limits.batch_size)
        answers = []
        while (request := await asyncio.to_thread(next, call.requests, None)) is not None:
            answers.append(await self._send(self._transport.predict, request))
        return call.finish(answers)

    async def _send(self, method: Callable[..., Any], *arguments: Any) -> Any:
        attempts = Attempts(self._limits)
        while True:
            try:
                return await method(*arguments, attempts.remaining)
            except ServingError as error:
                await asyncio.sleep(attempts.pause(error))

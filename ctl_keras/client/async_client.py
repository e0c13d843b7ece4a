"""The client for asyncio."""

from asyncio import wrap_future
from collections.abc import Coroutine
from typing import Any, TypeVar

from ctl_keras.client.call import Answer, Call
from ctl_keras.client.methods import ServedMethods

T = TypeVar("T")


class AsyncClient(ServedMethods[Coroutine[Any, Any, Answer]]):
    """`Client` with coroutines: the same arguments, results and errors.

    Its requests are sent by a thread of their own, so that it works in any event loop, and reading
    pictures holds up none. The portions of a long list are sent one after the other; gather calls
    to send several at once.

    Args: as `Client`.

    Example:

    ```python
    async with ctl.AsyncClient("grpc://localhost:8500", model="looks") as client:
        calls = [client.embed_scene(scenes, name) for name in ("Shoes", "Handbags")]
        shoes, bags = await asyncio.gather(*calls)
    ```
    """

    async def metadata(self) -> dict[str, Any]:
        """See `Client.metadata`."""
        return await self._wait(self._connection.metadata())

    async def status(self) -> list[dict[str, Any]]:
        """See `Client.status`."""
        return await self._wait(self._connection.status())

    async def close(self) -> None:
        """Closes the connections."""
        await self._wait(self._connection.close())

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, call: Call) -> Answer:
        return await self._wait(self._connection.run(call))

    async def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await wrap_future(self._connection.start(coroutine))

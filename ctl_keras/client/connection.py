"""How a client's requests travel: in portions, each within its deadline, again where that helps.

All clients of a process share one thread with an event loop, so that there is one implementation
for both `Client` and `AsyncClient`, and one deadline that no server escapes by answering slowly.
"""

import asyncio
import functools
import os
import random
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from ctl_keras.client.address import Address
from ctl_keras.client.answers import empty, model_metadata, version_states
from ctl_keras.client.call import Answer, Call
from ctl_keras.client.serving_error import ServingError, proxy_hint, too_late
from ctl_keras.errors import InputError

T = TypeVar("T")
_FIRST, _LONGEST = 0.1, 2.0  # seconds between attempts to reach a server
# a refusal costs a busy server next to nothing, and longer pauses leave too few attempts
_LONGEST_IF_BUSY = 0.4


@functools.cache
def _event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ctl-client", daemon=True).start()
    return loop


if hasattr(os, "register_at_fork"):  # a forked process has no such thread
    os.register_at_fork(after_in_child=_event_loop.cache_clear)


class Connection:
    """The requests of one client, from any thread. Args: as `Client`.

    Raises:
        InputError: a number is out of range, or the address's `ca_file` cannot be read.
        ImportError: REST without httpx.
    """

    def __init__(self, address: Address, timeout: float, retries: int, batch_size: int):
        if not 0 < timeout < float("inf"):
            raise InputError(f"`timeout` must be positive, in seconds. Received: {timeout}")
        if retries < 0:
            raise InputError(f"`retries` must be 0 or more. Received: {retries}")
        if batch_size < 1:
            raise InputError(f"`batch_size` must be positive. Received: {batch_size}")
        self._url, self._timeout = address.url, timeout
        self._retries, self._batch_size = retries, batch_size
        self._opened_in: asyncio.AbstractEventLoop | None = None
        self._transport: Any
        if address.is_grpc:
            from ctl_keras.client.grpc_transport import GrpcTransport

            self._transport = GrpcTransport(address)
        else:
            from ctl_keras.client.rest_transport import RestTransport

            self._transport = RestTransport(address)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Starts one of the coroutines below."""
        return asyncio.run_coroutine_threadsafe(coroutine, _event_loop())

    async def run(self, call: Call) -> Answer:
        """The answer to a call. Raises `InputError` or `ServingError`."""
        answers = []
        for start in range(0, call.rows, self._batch_size):
            stop = min(start + self._batch_size, call.rows)
            # in threads: reading pictures and JSON of megabytes would hold up all other requests
            message = await asyncio.to_thread(self._transport.encode, call, start, stop)
            response = await self._send("predict", message, call.signature)
            arguments = response, call.signature, stop - start
            answers.append(await asyncio.to_thread(self._transport.decode, *arguments))
        if not answers:
            return call.finish(empty(call.signature))
        joined = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        return call.finish(joined)

    async def metadata(self) -> dict[str, Any]:
        """What `Client.metadata` returns. Raises `ServingError`."""
        return model_metadata(self._url, await self._send("metadata"))

    async def status(self) -> list[dict[str, Any]]:
        """What `Client.status` returns. Raises `ServingError`."""
        return version_states(self._url, await self._send("status"))

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def _send(self, what: str, message: Any = None, signature: str = "") -> Any:
        loop = asyncio.get_running_loop()
        if self._opened_in is not loop:  # at the first request, and at the first one after a fork
            self._opened_in = loop
            self._transport.open()
        end = time.monotonic() + self._timeout
        refusals = cuts = 0
        busy: ServingError | None = None
        while True:
            left = max(end - time.monotonic(), 1e-3)
            try:
                sent = self._transport.send(what, message, signature, left)
                return await asyncio.wait_for(sent, left)
            except asyncio.TimeoutError:
                error = too_late(self._url, self._timeout)
            except ServingError as failure:
                error = failure
            # at random: clients that failed together must not come back together
            if error.is_busy:
                refusals, busy = refusals + 1, error
                pause = random.uniform(0, min(_FIRST * 2**refusals, _LONGEST_IF_BUSY))
            else:
                cuts += 1
                pause = random.uniform(0.5, 1) * min(_FIRST * 2**cuts, _LONGEST)
            is_last = not error.may_retry or not self._retries or cuts > self._retries
            if is_last or time.monotonic() + pause >= end:
                if busy and error.status == "DEADLINE_EXCEEDED":
                    error = busy  # why no time was left
                error.hint = f"{error.hint} {proxy_hint(self._url)}".strip()
                raise error
            await asyncio.sleep(pause)

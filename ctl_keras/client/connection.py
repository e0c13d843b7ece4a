"""How a client's requests travel: in portions, each within its deadline, again where that helps.

All clients of a process share one thread with an event loop, so that there is one implementation
for both `Client` and `AsyncClient`, and one deadline that no server escapes by answering slowly.
"""

import asyncio
import functools
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
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
    """The requests of one client. Its methods may be called from any thread.

    Args:
        address: where to.
        timeout, retries, batch_size: as `Client`.

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
        self._transport: Any
        if address.is_grpc:
            from ctl_keras.client.grpc_transport import GrpcTransport

            self._transport = GrpcTransport(address)
        else:
            from ctl_keras.client.rest_transport import RestTransport

            self._transport = RestTransport(address)
        self._opened_in: asyncio.AbstractEventLoop | None = None

    def run(self, call: Call) -> "Future[Answer]":
        """Starts a call. Its result may raise `InputError` or `ServingError`."""
        return self._start(self._run(call))

    def metadata(self) -> "Future[dict[str, Any]]":
        """Starts what `Client.metadata` returns."""
        return self._start(self._read(self._transport.metadata, model_metadata))

    def status(self) -> "Future[list[dict[str, Any]]]":
        """Starts what `Client.status` returns."""
        return self._start(self._read(self._transport.status, version_states))

    def close(self) -> "Future[None]":
        """Starts to close the connections."""
        return self._start(self._transport.close())

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(coroutine, _event_loop())

    async def _read(self, method: Callable[..., Any], described: Callable[[str, Any], T]) -> T:
        return described(self._url, await self._send(method))

    async def _run(self, call: Call) -> Answer:
        answers = []
        for start in range(0, call.rows, self._batch_size):
            stop = min(start + self._batch_size, call.rows)
            # in threads: reading pictures and JSON of megabytes would hold up all other requests
            message = await asyncio.to_thread(self._transport.encode, call, start, stop)
            response = await self._send(self._transport.predict, message, call.signature)
            arguments = response, call.signature, stop - start
            answers.append(await asyncio.to_thread(self._transport.decode, *arguments))
        if not answers:
            return call.finish(empty(call.signature))
        joined = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        return call.finish(joined)

    async def _send(self, method: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        if self._opened_in is not loop:  # at the first request, and at the first one after a fork
            self._opened_in = loop
            self._transport.open()
        end = time.monotonic() + self._timeout
        for attempt in itertools.count():
            left = max(end - time.monotonic(), 1e-3)
            try:
                return await asyncio.wait_for(method(*arguments, left), left)
            except asyncio.TimeoutError:
                error = too_late(self._url, self._timeout)
            except ServingError as failure:
                error = failure
            pause = _pause(attempt, error.is_busy)
            tries = float("inf") if error.is_busy and self._retries else self._retries
            if not error.may_retry or attempt >= tries or time.monotonic() + pause >= end:
                error.hint = f"{error.hint} {proxy_hint(self._url)}".strip()
                raise error
            await asyncio.sleep(pause)


def _pause(attempt: int, is_busy: bool) -> float:
    # at random: clients that failed together must not come back together
    if is_busy:
        return random.uniform(0, min(_FIRST * 2**attempt, _LONGEST_IF_BUSY))
    return random.uniform(0.5, 1) * min(_FIRST * 2 ** (attempt + 1), _LONGEST)

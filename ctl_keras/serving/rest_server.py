"""The REST front end's sockets: aiohttp, on an event loop in a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from ctl_keras.errors import InputError
from ctl_keras.serving.prediction import Prediction
from ctl_keras.serving.rest_routes import error_json, is_route, respond

_log = logging.getLogger(__name__)
T = TypeVar("T")


class RestServer:
    """Listens for HTTP requests as soon as it is made.

    Args:
        prediction: answers the requests.
        host: str. Name or address to listen on.
        port: int. 0 is any free one.
        pool: runs the requests, so that the event loop never waits for TensorFlow.
        max_bytes: int. Larger requests are answered with 413.
        grace: float. Seconds that `stop` waits for running requests.

    Attributes:
        address: str. "host:port".

    Raises:
        InputError: the address cannot be listened on.
    """

    def __init__(
        self,
        prediction: Prediction,
        host: str,
        port: int,
        pool: Executor,
        max_bytes: int,
        grace: float,
    ):
        self._prediction, self._pool = prediction, pool
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._thread.start()
        try:
            self.address = self._in_loop(self._start(host, port, max_bytes, grace))
        except BaseException:
            self._end_loop()
            raise

    def stop(self) -> None:
        """Takes no more requests and waits for those that run."""
        self._in_loop(self._runner.cleanup())
        self._end_loop()

    async def _start(self, host: str, port: int, max_bytes: int, grace: float) -> str:
        from aiohttp import web

        application = web.Application(client_max_size=max_bytes)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=grace)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise InputError(
                f"REST cannot listen on {host}:{port}: {error.strerror}. Choose another with "
                "--rest-port."
            ) from error
        bound = self._runner.addresses[0][1]
        return f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    async def _handle(self, request: Any) -> Any:
        from aiohttp import web

        path = request.rel_url.raw_path
        if not is_route(path):
            return web.Response(
                status=404,
                body=error_json(f"Not found: {path[:200]}"),
                content_type="application/json",
            )
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            return web.Response(
                status=413,
                body=error_json(error.text or "Too large"),
                content_type="application/json",
            )
        # such as a body that is not the gzip that its header announces
        except web.RequestPayloadError as error:
            return web.Response(
                status=400,
                body=error_json(f"Malformed body: {error}"),
                content_type="application/json",
            )
        try:
            status, answer = await asyncio.get_running_loop().run_in_executor(
                self._pool, respond, self._prediction, request.method, path, body
            )
        except Exception as error:  # a mistake of this server's; it goes on
            _log.exception("%s %s", request.method, path)
            status, answer = 500, error_json(f"{type(error).__name__}: {error}")
        return web.Response(status=status, body=answer, content_type="application/json")

    def _in_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

"""Many pictures from a web server, without asking too much of it: paced, tried again, verified,
written whole.

Imports libraries that only a download needs.
"""

import asyncio
import logging
import time
from datetime import timezone
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import stamina
from aiolimiter import AsyncLimiter

from ctl_keras.data.images import picture_problem
from ctl_keras.data.picture_files import picture_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import new_file
from ctl_keras.progress import track

ATTEMPTS = 5
BACKOFF_SECONDS = 1.0  # before the second attempt; doubled before each further one
LONGEST_PAUSE_SECONDS = 300.0
CONNECT_SECONDS, READ_SECONDS = 10.0, 20.0  # the second between two pieces of an answer
ANSWER_SECONDS = 120.0  # a server that sends a byte now and then would never be too late
REDIRECTS = 5
MAX_BYTES = 50_000_000
UNREACHABLE_AFTER = 20  # attempts in a row that found no server

_UNREACHABLE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
# what httpx raises, the reason, and whether another attempt may do better
_PROBLEMS: tuple[tuple[Any, str, bool], ...] = (
    (_UNREACHABLE, "no connection", True),
    ((httpx.TimeoutException, TimeoutError), "timed out", True),
    ((httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError), "connection cut", True),
    (httpx.TooManyRedirects, f"more than {REDIRECTS} redirects", False),
)
_CUT_OFF = "cut off or damaged"
# each attempt is a warning, which Python prints where nobody has asked for logs
logging.getLogger("stamina").addHandler(logging.NullHandler())


class FetchError(Exception):
    """Why an attempt got no picture; `again` if another one may."""

    def __init__(self, reason: str, again: bool = False):
        super().__init__(reason)
        self.again = again


def fetch_all(
    addresses: dict[str, str], out: Path, concurrency: int, rate: float
) -> tuple[list[int], dict[str, str]]:
    """Fetches pictures, id -> address, to `out/<id>.jpg`, .png or .webp, as their content is.

    They are fetched in a thread: there may be an event loop in this one, as in a notebook. An
    exception, such as KeyboardInterrupt, ends the thread and leaves no half file.

    Returns:
        The bytes of each picture that was fetched, and id -> reason of the others.

    Raises:
        InputError: `UNREACHABLE_AFTER` attempts in a row found no server.
    """
    fetcher = _Fetcher(addresses, out, rate)
    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(fetcher.run, concurrency)
    return fetcher.sizes, fetcher.failures


class _Fetcher:
    """Workers that share an HTTP client and its pace."""

    def __init__(self, addresses: dict[str, str], out: Path, rate: float):
        self.sizes: list[int] = []
        self.failures: dict[str, str] = {}
        self._left = iter(track(addresses.items(), "Fetching pictures", total=len(addresses)))
        self._out, self._pace = out, AsyncLimiter(1, 1 / rate)
        self._pause_ends = 0.0
        self._unreached = 0  # attempts in a row

    async def run(self, concurrency: int) -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"ctl-keras/{metadata.version('ctl-keras')}"},
            limits=limits,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=True,
            max_redirects=REDIRECTS,
            event_hooks={"request": [self._wait_for_turn]},  # also before a redirect
        )
        async with self._client:
            workers = [asyncio.ensure_future(self._work()) for _ in range(concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()

    async def _work(self) -> None:
        for id_, address in self._left:
            try:
                async for attempt in stamina.retry_context(
                    on=lambda error: isinstance(error, FetchError) and error.again,
                    attempts=ATTEMPTS,
                    timeout=None,
                    wait_initial=BACKOFF_SECONDS,
                    wait_max=BACKOFF_SECONDS * 2**ATTEMPTS,
                    wait_jitter=BACKOFF_SECONDS / 2,
                ):
                    with attempt:
                        body = await self._ask(address)
                        await anyio.to_thread.run_sync(self._keep, id_, body)
                        self.sizes.append(len(body))
            except FetchError as error:
                after = f" after {ATTEMPTS} attempts" if error.again else ""
                self.failures[id_] = f"{error}{after}"

    async def _wait_for_turn(self, _: httpx.Request) -> None:
        await self._pace.acquire()
        while (wait := self._pause_ends - time.monotonic()) > 0:  # all wait for the server
            await asyncio.sleep(wait)
            await self._pace.acquire()

    async def _ask(self, address: str) -> bytes:
        body = bytearray()
        try:
            async with self._client.stream("GET", address) as response:
                with anyio.fail_after(ANSWER_SECONDS):
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > MAX_BYTES:
                            raise FetchError(f"more than {MAX_BYTES / 1e6:g} MB")
        except FetchError:
            raise
        except Exception as error:  # nothing that a server sends ends the download
            self._unreached = self._unreached + 1 if isinstance(error, _UNREACHABLE) else 0
            if self._unreached >= UNREACHABLE_AFTER:
                raise InputError(
                    f"The host of {address} cannot be reached ({error}). {len(self.sizes)} "
                    "pictures were fetched; check the address and the network, and start the "
                    "download again: it goes on."
                ) from None
            for types, reason, again in _PROBLEMS:
                if isinstance(error, types):
                    raise FetchError(reason, again) from None
            # a redirect to ftp://, or to port 99999
            raise FetchError(f"cannot be asked for ({type(error).__name__})") from None
        self._unreached = 0
        if response.is_success:
            return bytes(body)
        code = response.status_code
        if code in (429, 503):
            pause = min(_retry_after(response.headers), LONGEST_PAUSE_SECONDS)
            self._pause_ends = max(self._pause_ends, time.monotonic() + pause)
        raise FetchError(f"HTTP {code}", again=code in (408, 429) or code >= 500)

    def _keep(self, id_: str, body: bytes) -> None:
        is_webp = body[:4] == b"RIFF" and body[8:12] == b"WEBP"
        is_cut = is_webp and int.from_bytes(body[4:8], "little") + 8 > len(body)
        # Pillow cannot convert a WebP that is cut off: it looks like no picture at all
        problem = _CUT_OFF if is_cut else picture_problem(picture_bytes(body))
        if problem is not None:
            raise FetchError(problem, again=problem in (_CUT_OFF, "empty file"))
        is_png = body[:8] == b"\x89PNG\r\n\x1a\n"
        suffix = ".png" if is_png else ".webp" if is_webp else ".jpg"
        with new_file(self._out / f"{id_}{suffix}") as temporary:
            temporary.write_bytes(body)


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds; 0 if the header is missing or makes no sense."""
    header = headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp() - time.time()

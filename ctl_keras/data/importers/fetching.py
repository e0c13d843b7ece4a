"""Many pictures from a web server, without asking too much of it: paced, tried again, verified,
written whole.

Imports httpx, which only a download needs.
"""

import contextlib
import queue
import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx

from ctl_keras.data.images import picture_problem
from ctl_keras.data.picture_files import picture_bytes
from ctl_keras.files import new_file

ATTEMPTS = 5
BACKOFF_SECONDS = 1.0  # before the second attempt; doubled before each further one
LONGEST_PAUSE_SECONDS = 300.0
CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0  # between two pieces of an answer
# for all of an answer: a server that sends a byte now and then would never be too late
ANSWER_SECONDS = 120.0
REDIRECTS = 5
MAX_BYTES = 50_000_000
UNREACHABLE_AFTER = 20  # attempts in a row that found no server

_UNREACHABLE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_CUT = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError)
_CUT_OFF = "cut off or damaged"
# of what `picture_problem` says, that which another answer may not have
_DAMAGED = {_CUT_OFF, "empty file"}


class HostUnreachableError(Exception):
    """Nobody can be connected to; the message is the last attempt's."""


class FetchError(Exception):
    """Why an attempt got no picture.

    Args:
        reason: str, a few words, the same for all pictures that lack for it.
        again: bool. Another attempt may do better.
        reached: bool. Somebody was there.
    """

    def __init__(self, reason: str, again: bool = False, reached: bool = True):
        super().__init__(reason)
        self.reason, self.again, self.reached = reason, again, reached


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        id: str.
        size: int, bytes of its file; 0 if there is none.
        problem: str or None: why there is none.
        reached: bool. False if nobody could be connected to, which says nothing of the picture.
    """

    id: str
    size: int = 0
    problem: str | None = None
    reached: bool = True


def fetch_all(
    addresses: Iterator[tuple[str, str]], out: Path, concurrency: int, rate: float
) -> Generator[Outcome, None, None]:
    """Fetches pictures to `out/<id>.jpg`, .png or .webp, as their content is.

    They are fetched in a thread: there may be an event loop in this one, as in a notebook. Closing
    the generator, and an exception such as KeyboardInterrupt in it, ends the thread and leaves no
    half file.

    Args:
        addresses: id and address of each picture; taken one by one, in the thread.
        out: folder that exists.
        concurrency: int. Most requests at once.
        rate: float. Most requests a second, with those that are repeated or redirected.

    Yields:
        What became of each picture, in the order in which that is known.

    Raises:
        HostUnreachableError: `UNREACHABLE_AFTER` attempts in a row found no server.
    """
    done: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
    fetcher = _Fetcher(out, _Pace(rate), done.put)
    with anyio.from_thread.start_blocking_portal() as portal:
        running = portal.start_task_soon(fetcher.run, addresses, concurrency)
        running.add_done_callback(lambda _: done.put(None))
        while (outcome := done.get()) is not None:
            yield outcome
        running.result()


class _Pace:
    """Whose turn it is: at most so many requests a second, and none while the server wants a
    pause."""

    def __init__(self, rate: float):
        self._interval = 1 / rate
        self._next = 0.0
        self._lock = anyio.Lock()

    async def turn(self) -> None:
        async with self._lock:
            while (wait := self._next - time.monotonic()) > 0:  # a pause may begin meanwhile
                await anyio.sleep(wait)
            self._next = time.monotonic() + self._interval

    def pause(self, seconds: float) -> None:
        self._next = max(self._next, time.monotonic() + min(seconds, LONGEST_PAUSE_SECONDS))


class _Fetcher:
    """Workers that share an HTTP client.

    Args:
        out: folder of the pictures.
        pace: of all workers.
        report: called with each outcome.
    """

    def __init__(self, out: Path, pace: _Pace, report: Callable[[Outcome], None]):
        self._out, self._pace, self._report = out, pace, report
        self._unreached = 0  # attempts in a row
        self._error: Exception | None = None

    async def run(self, addresses: Iterator[tuple[str, str]], concurrency: int) -> None:
        agent = f"ctl-keras/{metadata.version('ctl-keras')}"
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.AsyncClient(
            headers={"User-Agent": agent}, limits=limits, timeout=timeout
        )
        async with self._client, anyio.create_task_group() as group:
            for _ in range(concurrency):
                group.start_soon(self._work, addresses, group.cancel_scope.cancel)
        if self._error is not None:
            raise self._error

    async def _work(
        self, addresses: Iterator[tuple[str, str]], end_all: Callable[[], None]
    ) -> None:
        try:
            for id_, address in addresses:
                self._report(await self._fetch(id_, address))
        except Exception as error:  # a task group would wrap it
            self._error = error
            end_all()

    async def _fetch(self, id_: str, address: str) -> Outcome:
        attempt = 1
        while True:
            try:
                body = await self._ask(address)
                await anyio.to_thread.run_sync(self._keep, id_, body)
                self._unreached = 0
                return Outcome(id_, len(body))
            except FetchError as error:
                self._unreached = 0 if error.reached else self._unreached + 1
                if self._unreached >= UNREACHABLE_AFTER:
                    raise HostUnreachableError(
                        str(error.__cause__) or "no answer in time"
                    ) from None
                if not error.again:
                    return Outcome(id_, problem=error.reason)
                if attempt == ATTEMPTS:
                    return Outcome(
                        id_, 0, f"{error.reason} after {ATTEMPTS} attempts", error.reached
                    )
            await anyio.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            attempt += 1

    async def _ask(self, address: str) -> bytes:
        """The body behind an address. Redirects are followed here, because each is a request that
        waits for its turn."""
        try:
            request = self._client.build_request("GET", address)
        except httpx.InvalidURL:
            raise FetchError("not an address") from None
        for _ in range(1 + REDIRECTS):
            await self._pace.turn()
            response, body = await self._answer(request)
            if response.next_request is None:
                return self._content(response, body)
            request = response.next_request
        raise FetchError(f"more than {REDIRECTS} redirects")

    async def _answer(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        body = bytearray()
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                response = await self._client.send(request, stream=True)
                async with contextlib.aclosing(response):
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > MAX_BYTES:
                            break
        except _UNREACHABLE as error:
            raise FetchError("no connection", again=True, reached=False) from error
        except (httpx.TimeoutException, TimeoutError):
            raise FetchError("timed out", again=True) from None
        except _CUT:
            raise FetchError("connection cut", again=True) from None
        # a redirect to ftp://, or to port 99999: nothing that a server sends ends the download
        except Exception as error:
            raise FetchError(f"cannot be asked for ({type(error).__name__})") from None
        if len(body) > MAX_BYTES:
            raise FetchError(f"more than {MAX_BYTES / 1e6:g} MB")
        return response, bytes(body)

    def _content(self, response: httpx.Response, body: bytes) -> bytes:
        code = response.status_code
        if response.is_success:
            return body
        if code in (429, 503):
            self._pace.pause(_retry_after(response.headers.get("Retry-After", "")))
        raise FetchError(f"HTTP {code}", again=code in (408, 429) or code >= 500)

    def _keep(self, id_: str, body: bytes) -> None:
        problem = _problem(body)
        if problem is not None:
            raise FetchError(problem, again=problem in _DAMAGED)
        with new_file(self._out / f"{id_}{_suffix(body)}") as temporary:
            temporary.write_bytes(body)


def _retry_after(header: str) -> float:
    """Seconds; 0 if the header is missing or makes no sense."""
    if header.isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return (
        moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    ).timestamp() - time.time()


def _problem(body: bytes) -> str | None:
    """As `picture_problem`, also for WebP."""
    if _is_webp(body) and int.from_bytes(body[4:8], "little") + 8 > len(body):
        return _CUT_OFF  # Pillow cannot convert it, and then it looks like no picture at all
    return picture_problem(picture_bytes(body))


def _suffix(body: bytes) -> str:
    return ".png" if body[:8] == b"\x89PNG\r\n\x1a\n" else ".webp" if _is_webp(body) else ".jpg"


def _is_webp(body: bytes) -> bool:
    return body[:4] == b"RIFF" and body[8:12] == b"WEBP"

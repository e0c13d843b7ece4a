"""Fetching one picture after another from a host, without being a burden to it."""

import email.utils
import random
import threading
import time
from collections.abc import Callable
from types import TracebackType

from ctl_keras.errors import InputError

ATTEMPTS = 5
BACKOFF = 0.5  # seconds before the second attempt, doubled for each further one
TIMEOUT = 30.0  # seconds to connect, and without any byte
LONGEST_PAUSE = 300.0  # seconds, whatever Retry-After says
MOST_BYTES = 50 << 20
MOST_REDIRECTS = 5
UNREACHABLE = 20  # connections in a row that failed
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class MissingError(Exception):
    """A picture that the host does not have, or not in a state that can be used; the message is the reason."""


class UnreachableError(Exception):
    """The host cannot be reached, so that no further picture is asked for."""


class Pace:
    """At most so many requests a second, and none during a pause that the host asks for.

    Args:
        rate: float. Requests a second.
        stopped: set when all shall end.
    """

    def __init__(self, rate: float, stopped: threading.Event):
        self._interval, self._stopped = 1 / rate, stopped
        self._lock = threading.Lock()
        self._next = self._paused_until = 0.0

    def wait(self) -> None:
        """Returns when the next request may begin."""
        with self._lock:
            begin = max(time.monotonic(), self._next, self._paused_until)
            self._next = begin + self._interval
        while (left := max(begin, self._paused_until) - time.monotonic()) > 0 and not self._stopped.wait(left):
            pass

    def pause(self, seconds: float) -> None:
        """Nothing begins before these have passed: a host's Retry-After is about all requests."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + min(seconds, LONGEST_PAUSE))
            self._next = max(self._next, self._paused_until)


class Fetcher:
    """Gets pictures over kept connections; of use in several threads, and as a context manager.

    Args:
        rate: float. Requests a second.
        connections: int. At once.
        problem_of: what is wrong with a body, or None.
        user_agent: str.

    Raises:
        InputError: httpx is not installed.
    """

    def __init__(self, rate: float, connections: int, problem_of: Callable[[bytes], str | None], user_agent: str):
        try:
            import httpx
        except ImportError:
            raise InputError("httpx is not installed. Install it with: pip install ctl-keras[download]") from None
        self._httpx, self._problem_of = httpx, problem_of
        self._stopped = threading.Event()
        self._pace = Pace(rate, self._stopped)
        self._lock, self._failed_to_connect = threading.Lock(), 0
        self._client = httpx.Client(
            timeout=TIMEOUT,
            follow_redirects=True,
            max_redirects=MOST_REDIRECTS,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"User-Agent": user_agent, "Accept": "image/*"},
        )

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends what still waits or is on its way."""
        self._stopped.set()
        self._client.close()

    def get(self, address: str) -> bytes:
        """A picture's file.

        Raises:
            MissingError: the host does not give it.
            UnreachableError: the host was not to be reached `UNREACHABLE` times in a row.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._stopped.wait(BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # not all at once again
            self._pace.wait()
            if self._stopped.is_set():
                raise UnreachableError
            body, reason = self._try(address)
            if body is not None:
                return body
        raise MissingError(f"{reason}, {ATTEMPTS} times")

    def _try(self, address: str) -> tuple[bytes | None, str]:
        """The picture, or why it is worth another attempt."""
        httpx = self._httpx
        try:
            with self._client.stream("GET", address) as response:
                self._connected()
                reason = f"HTTP {response.status_code}"
                if response.status_code in _AGAIN:
                    self._heed(response.headers.get("Retry-After"))
                    return None, reason
                if response.status_code != 200:
                    raise MissingError(reason)
                body = bytearray()
                for block in response.iter_bytes():
                    body += block
                    if len(body) > MOST_BYTES:
                        raise MissingError(f"more than {MOST_BYTES >> 20} MB")
        except httpx.TooManyRedirects:
            raise MissingError(f"more than {MOST_REDIRECTS} redirects") from None
        except httpx.UnsupportedProtocol:
            raise MissingError("a redirect to no web address") from None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            self._not_connected()
            return None, "no connection"
        except httpx.TimeoutException:
            return None, "timed out"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return None, "connection lost" if isinstance(error, httpx.TransportError) else "damaged answer"
        problem = self._problem_of(bytes(body))
        if problem in ("cut off or damaged", "empty file"):  # perhaps on its way
            return None, problem
        if problem is not None:
            raise MissingError(problem)
        return bytes(body), ""

    def _heed(self, retry_after: str | None) -> None:
        if seconds := seconds_of(retry_after):
            self._pace.pause(seconds)

    def _connected(self) -> None:
        with self._lock:
            self._failed_to_connect = 0

    def _not_connected(self) -> None:
        with self._lock:
            self._failed_to_connect += 1
            if self._failed_to_connect >= UNREACHABLE:
                self._stopped.set()
                raise UnreachableError


def seconds_of(retry_after: str | None) -> float:
    """The seconds of a Retry-After header, which may be a number or a date (RFC 9110, 10.2.3); 0 for anything else."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        return min(float(retry_after), LONGEST_PAUSE)
    try:
        return max((email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()), 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0

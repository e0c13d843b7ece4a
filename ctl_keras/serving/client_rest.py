"""A client's requests over TensorFlow Serving's REST routes. Nothing here imports TensorFlow.

Columns (`inputs`), not rows: the answer then has a column for each output, and each is one array.
"""

import asyncio
import base64
import json
import ssl
import time
from typing import Any

import numpy as np

from ctl_keras.errors import InputError
from ctl_keras.serving.client_answers import Answer, from_json, model_metadata, version_states
from ctl_keras.serving.client_calls import Predict
from ctl_keras.serving.client_target import Target
from ctl_keras.serving.serving_error import (
    ServingError,
    not_understood,
    refused,
    too_late,
    unreachable,
)

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MAY_RETRY = {429, 502, 503}


def encoded(request: Predict) -> bytes:
    """A request as the JSON of `:predict`."""
    inputs = {name: _column(values) for name, values in request.inputs.items()}
    return json.dumps({"signature_name": request.signature, "inputs": inputs}).encode()


def _column(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return values.tolist()
    return [
        {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for value in values
    ]


def decoded(target: Target, request: Predict, code: int, body: bytes) -> Answer:
    """The answer to `:predict`.

    Raises:
        ServingError: the server refused, or answers something else.
    """
    document = _document(target.url, code, body, request.signature)
    if not isinstance(document, dict) or "outputs" not in document:
        raise not_understood(target.url, "answers without `outputs`")
    rows = len(next(iter(request.inputs.values())))
    return from_json(target.url, request.signature, rows, document["outputs"])


def _document(url: str, code: int, body: bytes, signature: str = "") -> Any:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if code == 200:
        if document is None:
            raise not_understood(url, "answers with something else than JSON")
        return document
    # a proxy in between answers with HTML
    message = (
        document["error"]
        if isinstance(document, dict) and "error" in document
        else body[:200].decode("utf-8", "replace")
    )
    status = _STATUS.get(
        code, "INVALID_ARGUMENT" if 400 <= code < 500 else "INTERNAL" if code >= 500 else "UNKNOWN"
    )
    raise refused(status, f"{message} (HTTP {code})", signature, code in _MAY_RETRY)


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise ImportError("The REST client needs httpx: pip install 'ctl-keras[serving]'") from None
    return httpx


def _settings(target: Target) -> dict[str, Any]:
    if not target.has_tls:
        return {"headers": dict(target.headers or {})}
    try:
        context = ssl.create_default_context(cafile=target.ca_file)
    except OSError as error:
        raise InputError(
            f"`ca_file` holds no certificates in PEM form: {error}. Received: {target.ca_file}"
        ) from None
    return {"headers": dict(target.headers or {}), "verify": context}


def _failure(target: Target, error: Exception, seconds: float) -> Exception:
    """The ServingError for what httpx raises."""
    httpx = _httpx()
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.ProxyError):
        return unreachable(target.url, str(error) or "no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return too_late(target.url, seconds)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return unreachable(target.url, str(error) or "the connection was cut")
    if isinstance(error, httpx.HTTPError):
        return not_understood(target.url, f"cannot be talked to: {error}")
    return error


class RestTransport:
    """Sends requests and waits.

    Args:
        target: where to.
    """

    def __init__(self, target: Target):
        self._target = target
        self._http = _httpx().Client(**_settings(target))

    def predict(self, request: Predict, seconds: float) -> Answer:
        """The answer to a request, arrays by output; `seconds` is its deadline. Raises
        `ServingError`."""
        code, body = self._send(
            "POST", f"{self._target.rest_path}:predict", seconds, encoded(request)
        )
        return decoded(self._target, request, code, body)

    def metadata(self, seconds: float) -> dict[str, Any]:
        """What `Client.metadata` returns. Raises `ServingError`."""
        code, body = self._send("GET", f"{self._target.rest_path}/metadata", seconds)
        return model_metadata(self._target.url, _document(self._target.url, code, body))

    def status(self, seconds: float) -> list[dict[str, Any]]:
        """What `Client.status` returns. Raises `ServingError`."""
        code, body = self._send("GET", self._target.rest_path, seconds)
        return version_states(self._target.url, _document(self._target.url, code, body))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _send(
        self, method: str, url: str, seconds: float, content: bytes | None = None
    ) -> tuple[int, bytes]:
        end = time.monotonic() + seconds
        body = bytearray()
        try:
            # httpx's timeouts are for each read: a server that sends a byte now and then would
            # never be too late
            with self._http.stream(method, url, content=content, timeout=seconds) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > end:
                        raise too_late(self._target.url, seconds)
                return response.status_code, bytes(body)
        except ServingError:
            raise
        except Exception as error:
            raise _failure(self._target, error, seconds) from None


class AsyncRestTransport:
    """`RestTransport` for asyncio."""

    def __init__(self, target: Target):
        self._target = target
        self._http = _httpx().AsyncClient(**_settings(target))

    async def predict(self, request: Predict, seconds: float) -> Answer:
        # JSON of some megabytes would hold the event loop
        """The answer to a request, arrays by output; `seconds` is its deadline. Raises
        `ServingError`."""
        content = await asyncio.to_thread(encoded, request)
        code, body = await self._send("POST", f"{self._target.rest_path}:predict", seconds, content)
        return await asyncio.to_thread(decoded, self._target, request, code, body)

    async def metadata(self, seconds: float) -> dict[str, Any]:
        """What `Client.metadata` returns. Raises `ServingError`."""
        code, body = await self._send("GET", f"{self._target.rest_path}/metadata", seconds)
        return model_metadata(self._target.url, _document(self._target.url, code, body))

    async def status(self, seconds: float) -> list[dict[str, Any]]:
        """What `Client.status` returns. Raises `ServingError`."""
        code, body = await self._send("GET", self._target.rest_path, seconds)
        return version_states(self._target.url, _document(self._target.url, code, body))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _send(
        self, method: str, url: str, seconds: float, content: bytes | None = None
    ) -> tuple[int, bytes]:
        try:
            response = await asyncio.wait_for(
                self._http.request(method, url, content=content, timeout=seconds), seconds
            )
        except asyncio.TimeoutError:
            raise too_late(self._target.url, seconds) from None
        except Exception as error:
            raise _failure(self._target, error, seconds) from None
        return response.status_code, response.content

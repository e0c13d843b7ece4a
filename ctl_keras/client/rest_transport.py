"""A client's requests over TensorFlow Serving's REST routes. Nothing here imports TensorFlow.

Columns (`inputs`), not rows: the answer then has a column for each output, and each is one array.
"""

import base64
import json
import ssl
from typing import Any

from ctl_keras.client.address import Address
from ctl_keras.client.answers import from_json
from ctl_keras.client.call import Answer, Call
from ctl_keras.client.serving_error import not_understood, refused, unreachable
from ctl_keras.errors import InputError

_ROUTES = {"predict": ":predict", "metadata": "/metadata", "status": ""}
_STATUS = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """Sends requests by HTTP. Raises `InputError`: `ca_file` holds no certificates; `ImportError`:
    httpx is not installed."""

    def __init__(self, address: Address):
        try:
            import httpx
        except ImportError:
            hint = "The REST client needs httpx: pip install 'ctl-keras[serving]'"
            raise ImportError(hint) from None
        self._httpx, self._url, self._path = httpx, address.url, address.rest_path
        # no time-out: the deadline is the connection's
        self._settings: dict[str, Any] = {"headers": dict(address.headers or {}), "timeout": None}
        self._http: Any = None
        if address.has_tls:
            try:
                self._settings["verify"] = ssl.create_default_context(cafile=address.ca_file)
            except OSError as error:
                reason = f"`ca_file` holds no certificates in PEM form: {error}."
                raise InputError(f"{reason} Received: {address.ca_file}") from None

    def open(self) -> None:
        """Makes ready for requests from the event loop that runs."""
        self._http = self._httpx.AsyncClient(**self._settings)

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()

    def encode(self, call: Call, start: int, stop: int) -> bytes:
        """Some rows of a call as the JSON of `:predict`. Raises `InputError`."""
        columns = {name: column.rows(start, stop) for name, column in call.columns.items()}
        inputs = {name: [_value(row) for row in rows] for name, rows in columns.items()}
        return json.dumps({"signature_name": call.signature, "inputs": inputs}).encode()

    def decode(self, document: Any, signature: str, rows: int) -> Answer:
        """Arrays by output. Raises `ServingError`."""
        if not isinstance(document, dict) or "outputs" not in document:
            raise not_understood(self._url, "answers without `outputs`")
        return from_json(self._url, signature, rows, document["outputs"])

    async def send(self, what: str, message: bytes | None, signature: str, seconds: float) -> Any:
        """The JSON document that answers "predict", "metadata" or "status". Raises
        `ServingError`."""
        httpx, method = self._httpx, "POST" if message else "GET"
        try:
            response = await self._http.request(method, self._path + _ROUTES[what], content=message)
        except (httpx.TransportError, OSError) as error:
            raise unreachable(self._url, str(error) or "the connection was cut") from None
        except httpx.HTTPError as error:
            raise not_understood(self._url, f"cannot be talked to: {error}") from None
        code, document = response.status_code, None
        try:
            document = json.loads(response.content)
        except ValueError:
            if code == 200:
                what = "answers with something else than JSON"
                raise not_understood(self._url, what) from None
        if code == 200:
            return document
        # a proxy in between answers with HTML
        words = document.get("error") if isinstance(document, dict) else response.text[:200]
        words = f"{words} (HTTP {code})"
        if code == 502:
            raise unreachable(self._url, words)
        status = _STATUS.get(code, "INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
        raise refused(status, words, signature, len(message or b""))


def _value(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

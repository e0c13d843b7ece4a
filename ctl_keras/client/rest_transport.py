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

_STATUS = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """Sends requests by HTTP.

    Args:
        address: where to.

    Raises:
        InputError: `ca_file` holds no certificates.
        ImportError: httpx is not installed.
    """

    def __init__(self, address: Address):
        try:
            import httpx
        except ImportError:
            hint = "The REST client needs httpx: pip install 'ctl-keras[serving]'"
            raise ImportError(hint) from None
        self._httpx, self._url, self._path = httpx, address.url, address.rest_path
        # the deadline is the connection's
        self._settings: dict[str, Any] = {"headers": dict(address.headers or {}), "timeout": None}
        self._http: Any = None
        if address.has_tls:
            try:
                self._settings["verify"] = ssl.create_default_context(cafile=address.ca_file)
            except OSError as error:
                raise InputError(
                    f"`ca_file` holds no certificates in PEM form: {error}. Received: "
                    f"{address.ca_file}"
                ) from None

    def open(self) -> None:
        """Makes ready for requests from the event loop that runs."""
        self._http = self._httpx.AsyncClient(**self._settings)

    def encode(self, call: Call, start: int, stop: int) -> bytes:
        """Some rows of a call as the JSON of `:predict`. Raises `InputError`."""
        columns = {name: column.rows(start, stop) for name, column in call.columns.items()}
        inputs = {name: [_value(row) for row in rows] for name, rows in columns.items()}
        return json.dumps({"signature_name": call.signature, "inputs": inputs}).encode()

    async def predict(self, message: bytes, signature: str, seconds: float) -> Any:
        """The answer to a message, for `decode`. Raises `ServingError`."""
        return await self._send("POST", ":predict", message, signature)

    def decode(self, document: Any, signature: str, rows: int) -> Answer:
        """Arrays by output. Raises `ServingError`."""
        if not isinstance(document, dict) or "outputs" not in document:
            raise not_understood(self._url, "answers without `outputs`")
        return from_json(self._url, signature, rows, document["outputs"])

    async def metadata(self, seconds: float) -> Any:
        """A `GetModelMetadataResponse` in JSON. Raises `ServingError`."""
        return await self._send("GET", "/metadata")

    async def status(self, seconds: float) -> Any:
        """A `GetModelStatusResponse` in JSON. Raises `ServingError`."""
        return await self._send("GET", "")

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _send(self, method: str, verb: str, body: bytes = b"", signature: str = "") -> Any:
        httpx = self._httpx
        try:
            response = await self._http.request(method, self._path + verb, content=body)
        except (httpx.TransportError, OSError) as error:
            raise unreachable(self._url, str(error) or "the connection was cut") from None
        except httpx.HTTPError as error:
            raise not_understood(self._url, f"cannot be talked to: {error}") from None
        code = response.status_code
        try:
            document = json.loads(response.content)
        except ValueError:
            if code == 200:
                what = "answers with something else than JSON"
                raise not_understood(self._url, what) from None
            document = None
        if code == 200:
            return document
        # a proxy in between answers with HTML
        is_error = isinstance(document, dict) and "error" in document
        message = document["error"] if is_error else response.text[:200]
        if code == 502:
            raise unreachable(self._url, f"a proxy answers {message} (HTTP 502)")
        other = (
            "INVALID_ARGUMENT" if 400 <= code < 500 else "INTERNAL" if code >= 500 else "UNKNOWN"
        )
        status = _STATUS.get(code, other)
        raise refused(status, f"{message} (HTTP {code})", signature, len(body))


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value

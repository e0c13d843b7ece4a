"""How the development server says no: one exception with a gRPC status, which both front ends
translate."""

from typing import Any

# TensorFlow Serving's model_servers/http_server.cc; a status that is not here is a 500
HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
_NAMES = [
    *(
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
    ),
    *(
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
    ),
    *("DATA_LOSS", "UNAUTHENTICATED"),
]
_LONGEST = 1000  # gRPC carries the message in a header, and headers end at 8 KB


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: name of the gRPC status, such as "INVALID_ARGUMENT".
        message: str. What is wrong; cut at 1,000 characters.

    Attributes:
        status: str. As given.
        http: int. The HTTP status that TensorFlow Serving would answer.
        number: int. The status as gRPC and TensorFlow count it.
    """

    def __init__(self, status: str, message: str):
        # a request may hold half a character; neither gRPC nor JSON carries that
        super().__init__(message[:_LONGEST].encode("utf-8", "replace").decode())
        self.status, self.number = status, _NAMES.index(status)
        self.http = HTTP_STATUS.get(status, 500)


def invalid(message: str) -> RefusedError:
    """The refusal of a request that is wrong in itself."""
    return RefusedError("INVALID_ARGUMENT", message)


def from_tensorflow(error: Any) -> RefusedError:
    """The refusal for a `tf.errors.OpError` of the graph."""
    number = error.error_code if error.error_code in range(len(_NAMES)) else _NAMES.index("UNKNOWN")
    return RefusedError(_NAMES[number], error.message)

"""What a server, or the way to it, answers instead of a result."""


class ServingError(RuntimeError):
    """A request that got no result. Wrong input that the client sees by itself is an `InputError`
    instead.

    Args:
        status: name of the gRPC status, also over REST: "INVALID_ARGUMENT", "NOT_FOUND",
            "UNAVAILABLE", "DEADLINE_EXCEEDED"…
        message: the server's message, or what happened on the way.
        hint: what to do. Defaults to "".
        may_retry: whether the same request may succeed when it is sent again. Defaults to False.

    Attributes: as Args.
    """

    def __init__(self, status: str, message: str, hint: str = "", may_retry: bool = False):
        super().__init__(status, message, hint, may_retry)
        self.status, self.message, self.hint, self.may_retry = status, message, hint, may_retry

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" + (f" {self.hint}" if self.hint else "")


_CATALOG = "The export has no catalog: export with one (`ctl-keras export --catalog DIR`)."
_MISSING = {
    "recommend": _CATALOG,
    "rerank": _CATALOG,
    "score_embeddings": (
        "The model's distance has no inner-product form; score pairs of pictures with "
        "`score_pairs`."
    ),
}
_BY_STATUS = {
    "NOT_FOUND": "Check `model`, `version` and `label`; `status()` lists the versions.",
    "UNAVAILABLE": (
        "The server is overloaded, starting or stopping: try again later, or raise `retries`."
    ),
    "DEADLINE_EXCEEDED": "Raise `timeout`, or lower `batch_size`.",
    "RESOURCE_EXHAUSTED": (
        "The request or the answer is too large for the server, or it is overloaded: lower "
        "`batch_size`."
    ),
    "UNAUTHENTICATED": "Give the token in `headers`.",
    "PERMISSION_DENIED": "Check the token in `headers`.",
}


def refused(
    status: str, message: str, signature: str = "", may_retry: bool = False
) -> ServingError:
    """The error for a server's own refusal, with the hint that fits.

    Args:
        status: name of the gRPC status.
        message: the server's message.
        signature: name of the signature that was called. Defaults to "", none.
        may_retry: as `ServingError`.
    """
    message = " ".join(message.split()) or "(no message)"
    lower = message.lower()
    if signature and "signature" in lower and ("not found" in lower or "not exist" in lower):
        hint = _MISSING.get(
            signature, "The model was not exported by `ctl-keras export`; check `model`."
        )
    elif "maximum input batch size" in lower:
        hint = "Set `batch_size` to at most the last of the server's allowed batch sizes."
    else:
        hint = _BY_STATUS.get(status, "")
    return ServingError(
        status, message if message.endswith((".", ")")) else f"{message}.", hint, may_retry
    )


def unreachable(url: str, reason: str) -> ServingError:
    """The error for a server that is not there or hung up."""
    hint = (
        "Is the server running there? REST (http://) is usually on port 8501, gRPC (grpc://) on "
        "8500; `ctl-keras serve --model DIR` starts a development server."
    )
    return ServingError(
        "UNAVAILABLE",
        f"{url} cannot be reached: {' '.join(reason.split()).rstrip('.')}.",
        hint,
        may_retry=True,
    )


def too_late(url: str, seconds: float) -> ServingError:
    """The error for a request whose deadline has passed."""
    return ServingError(
        "DEADLINE_EXCEEDED",
        f"{url} did not answer within {seconds:.3g} s.",
        _BY_STATUS["DEADLINE_EXCEEDED"],
    )


def not_understood(url: str, what: str) -> ServingError:
    """The error for an answer that is not of TensorFlow Serving, or of another model."""
    return ServingError(
        "UNKNOWN",
        f"{url} {what}.",
        "Is a Complete-the-Look export served there, and is the port the right one?",
    )

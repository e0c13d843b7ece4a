"""What a server, or the way to it, answers instead of a result."""

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


class ServingError(RuntimeError):
    """A request that got no result. Wrong input that the client sees by itself is an `InputError`
    instead.

    Args:
        status: name of the gRPC status, also over REST: "INVALID_ARGUMENT", "NOT_FOUND",
            "UNAVAILABLE", "DEADLINE_EXCEEDED"…
        message: the server's message, or what happened on the way.
        hint: what to do, or "".
        may_retry: whether the same request may succeed when it is sent again. Defaults to False.
        is_busy: whether the server refused because of its load. Defaults to False.

    Attributes: as Args.
    """

    def __init__(
        self, status: str, message: str, hint: str, may_retry: bool = False, is_busy: bool = False
    ):
        super().__init__(status, message, hint, may_retry, is_busy)
        self.status, self.message, self.hint = status, message, hint
        self.may_retry, self.is_busy = may_retry, is_busy

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" + (f" {self.hint}" if self.hint else "")


_CATALOG = "The export has no catalog: export with one (`ctl-keras export --catalog DIR`)."
MISSING = dict.fromkeys(("recommend", "recommend_excluding", "rerank"), _CATALOG)
MISSING["score_embeddings"] = "The distance has no inner-product form: use `score_pairs`."
_BUSY = (
    "The server is overloaded, starting or stopping: send fewer requests at once, raise `timeout`, "
    "or give the server more threads or a longer queue (`ctl-keras server-files`)."
)
_BY_STATUS = {
    "NOT_FOUND": "Check `model`, `version` and `label`; `status()` lists the versions.",
    "DEADLINE_EXCEEDED": "Raise `timeout`, or lower `batch_size`.",
    "RESOURCE_EXHAUSTED": "The request or the answer is larger than the server, or a proxy before "
    "it, allows: lower `batch_size`.",
    "UNAUTHENTICATED": "Give the token in `headers`.",
    "PERMISSION_DENIED": "Check the token in `headers`.",
}
_TOO_LARGE = ("larger than max", "too large", "http 413")
_LOAD = ("thread", "queue", "overload", "quota", "rate", "many requests")
_USUAL_LIMIT = 4 * 2**20  # bytes: gRPC's own, and that of many a proxy


def refused(status: str, message: str, signature: str = "", size: int = 0) -> ServingError:
    """The error for a server's own refusal of a request of `size` bytes, with the hint that fits.

    A server that lacks threads and one that finds a message too large both answer
    RESOURCE_EXHAUSTED. Their words tell them apart; where these say neither, the size does.
    """
    message = " ".join(message.split()).rstrip(".") or "(no message)"
    words = message.lower()
    too_large = any(sign in words for sign in _TOO_LARGE) or (
        size > _USUAL_LIMIT and not any(sign in words for sign in _LOAD)
    )
    busy = status == "UNAVAILABLE" or (status == "RESOURCE_EXHAUSTED" and not too_large)
    if signature and "signature" in words and ("not found" in words or "not exist" in words):
        unknown = "The model was not exported by `ctl-keras export`; check `model`."
        hint = MISSING.get(signature, unknown)
    elif "maximum input batch size" in words:
        hint = "Set `batch_size` to at most the last of the server's allowed batch sizes."
    else:
        hint = _BUSY if busy else _BY_STATUS.get(status, "")
    return ServingError(status, f"{message}.", hint, may_retry=busy, is_busy=busy)


def unreachable(url: str, reason: str) -> ServingError:
    """The error for a server that is not there or hung up."""
    hint = (
        "Is the server running there? REST (http://) is usually on port 8501, gRPC (grpc://) on "
        "8500; `ctl-keras serve --model DIR` starts a development server."
    )
    reason = " ".join(reason.split()).rstrip(".")
    message = f"{url} cannot be reached: {reason}."
    return ServingError("UNAVAILABLE", message, hint, may_retry=True)


def too_late(url: str, seconds: float) -> ServingError:
    """The error for a request whose deadline has passed."""
    message = f"{url} did not answer within {seconds:.3g} s."
    return ServingError("DEADLINE_EXCEEDED", message, _BY_STATUS["DEADLINE_EXCEEDED"])


def not_understood(url: str, what: str) -> ServingError:
    """The error for an answer that is not of TensorFlow Serving, or of another model."""
    hint = "Is a Complete-the-Look export served there, and is the port the right one?"
    return ServingError("UNKNOWN", f"{url} {what}.", hint)


def proxy_hint(url: str) -> str:
    """What to do if the environment sends requests for this machine itself to a proxy, which cannot
    reach it; "" if it does not."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    # the order in which gRPC and httpx look for them
    kinds = ("grpc", "https", "http") if parts.scheme.startswith("grpc") else (parts.scheme, "all")
    proxies = getproxies()
    kind = next((kind for kind in kinds if proxies.get(kind)), "")
    if not is_here or not kind or proxy_bypass(host):
        return ""
    proxy = proxies[kind].rpartition("@")[2]  # without a password
    return (
        f"The environment's {kind}_proxy sends requests for {host} to the proxy {proxy}: set "
        f"no_proxy={host}."
    )

"""Where a client's requests go, and in which portions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from ctl_keras.errors import InputError


@dataclass(frozen=True)
class Target:
    """A served model.

    Args:
        url: `http://`, `https://`, `grpc://` or `grpcs://`, host and port; REST may have a path
            before `/v1`.
        model: the name that the server gives the model.
        version: int. Defaults to the server's newest.
        label: str, a version label such as "stable". Defaults to none.
        ca_file: file with the certificates to trust, PEM. Defaults to the system's.
        headers: sent along with each request, such as an access token. Defaults to none.

    Raises:
        InputError: the address is not of that form, or both a version and a label are given.
    """

    url: str
    model: str
    version: int | None = None
    label: str | None = None
    ca_file: str | Path | None = None
    headers: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        form = (
            "Give http://HOST:8501 for REST or grpc://HOST:8500 for gRPC (https and grpcs with "
            "TLS)."
        )
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"The server's address cannot be read: {error}. Received: {self.url!r}. {form}"
            ) from None
        if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
            raise InputError(
                f"The server's address has no scheme or no host. Received: {self.url!r}. {form}"
            )
        if self.is_grpc and (port is None or parts.path.strip("/")):
            raise InputError(
                f"A gRPC address is host and port alone. Received: {self.url!r}. {form}"
            )
        if not self.model or not isinstance(self.model, str):
            raise InputError(
                "`model` must be the name that the server gives the model. Received: "
                f"{self.model!r}"
            )
        if self.version is not None and self.label is not None:
            raise InputError(
                f"Give `version` or `label`, not both. Received: {self.version!r} and "
                f"{self.label!r}"
            )

    @property
    def is_grpc(self) -> bool:
        """Whether it is asked by gRPC, or else by REST."""
        return self.url.startswith(("grpc://", "grpcs://"))

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith(("https://", "grpcs://"))

    @property
    def host_and_port(self) -> str:
        """`HOST:PORT`, or the host alone."""
        return urlsplit(self.url).netloc

    @property
    def rest_path(self) -> str:
        """Address of the model's REST routes, without the verb."""
        path = f"{self.url.rstrip('/')}/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            return f"{path}/versions/{self.version}"
        return path if self.label is None else f"{path}/labels/{quote(self.label, safe='')}"


@dataclass(frozen=True)
class Limits:
    """Limits of each request, as `Client` takes them.

    Raises:
        InputError: one is out of range.
    """

    timeout: float
    retries: int
    batch_size: int

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"`timeout` must be positive, in seconds. Received: {self.timeout}")
        if self.retries < 0:
            raise InputError(f"`retries` must be 0 or more. Received: {self.retries}")
        if self.batch_size < 1:
            raise InputError(f"`batch_size` must be positive. Received: {self.batch_size}")

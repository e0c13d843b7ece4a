"""Where a client's requests go."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from ctl_keras.errors import InputError

_FORM = "Give http://HOST:8501 for REST or grpc://HOST:8500 for gRPC (https and grpcs with TLS)."


@dataclass(frozen=True)
class Address:
    """A served model. Args: as `Client`; REST may have a path before `/v1`.

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
        try:
            parts = urlsplit(self.url)
            host, path = parts.hostname, parts.path.strip("/")
            is_grpc, needs_port = parts.scheme in ("grpc", "grpcs"), parts.port is None
        except (ValueError, AttributeError, TypeError) as error:
            wrong = f"cannot be read: {error}"
        else:
            has_scheme = is_grpc or parts.scheme in ("http", "https")
            wrong = "" if has_scheme and host else "has no scheme or no host"
            wrong = "is not host and port alone" if is_grpc and (needs_port or path) else wrong
        if wrong:
            raise InputError(f"The server's address {wrong}. Received: {self.url!r}. {_FORM}")
        if not self.model or not isinstance(self.model, str):
            raise InputError(f"`model` must be the model's name. Received: {self.model!r}")
        if self.version is not None and self.label is not None:
            received = f"{self.version!r} and {self.label!r}"
            raise InputError(f"Give `version` or `label`, not both. Received: {received}")

    @property
    def is_grpc(self) -> bool:
        """Whether it is asked by gRPC, or else by REST."""
        return self.url.startswith("grpc")

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith(("https://", "grpcs://"))

    @property
    def rest_path(self) -> str:
        """Address of the model's REST routes, without the verb."""
        path = f"{self.url.rstrip('/')}/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            return f"{path}/versions/{self.version}"
        return path if self.label is None else f"{path}/labels/{quote(self.label, safe='')}"

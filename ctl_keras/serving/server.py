"""The development server: TensorFlow Serving's protocol without its binary, for notebooks, tests
and the page. It has no batching, no TLS and one model."""

import contextlib
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctl_keras.errors import InputError
from ctl_keras.serving.front_ends import RestServer, start_grpc
from ctl_keras.serving.versions import VersionStore

_POLL_SECONDS = 1.0  # TensorFlow Serving's file_system_poll_wait_seconds


class DevelopmentServer:
    """Serves one model from threads of this process, until `stop`.

    Args:
        model: `saved_models/NAME`.
        name: str. Of the model in requests. Defaults to NAME.
        rest_port, grpc_port: int. 0 is any free one; `rest_address` and `grpc_address`,
            "host:port", tell which. Default to TensorFlow Serving's.
        host: str. Address to listen on. Defaults to "127.0.0.1", which other machines cannot reach.
        labels: label -> version; these versions are served beside the newest one. Defaults to none.

    Raises:
        InputError: there is nothing to serve, it cannot be loaded, or a port is taken.
    """

    def __init__(
        self,
        model: str | Path,
        name: str | None = None,
        rest_port: int = 8501,
        grpc_port: int = 8500,
        host: str = "127.0.0.1",
        labels: Mapping[str, int] | None = None,
    ):
        folder = Path(model).resolve()
        self.name = name or folder.name
        self._store = VersionStore(folder, self.name, labels or {}, _tell)
        self._rest = RestServer(self._store, host, rest_port)
        try:
            self._grpc, port = start_grpc(self._store, host, grpc_port)
        except InputError:
            self._rest.stop()
            raise
        self.rest_address = f"{host}:{self._rest.server_port}"
        self.grpc_address = f"{host}:{port}"
        self._stopping = threading.Event()
        threading.Thread(target=self._poll, daemon=True).start()

    def stop(self) -> None:
        """Takes no more requests and waits up to a minute for those that run."""
        self._stopping.set()
        drained = self._grpc.stop(60)
        self._rest.stop()
        drained.wait()

    def __enter__(self) -> "DevelopmentServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            with contextlib.suppress(OSError):  # the base path is away for a moment
                self._store.poll()


def serve(
    model: Path, name: str | None, rest_port: int, grpc_port: int, host: str, labels: Sequence[str]
) -> None:
    """Serves until SIGINT or SIGTERM, then lets the running requests end. Args, Raises: as
    `DevelopmentServer`; `labels` are strings such as "stable=1"."""
    try:
        numbers = {label: int(version) for label, version in (one.split("=") for one in labels)}
    except ValueError:
        raise InputError(f"A label looks like stable=1. Received: {', '.join(labels)}") from None
    with DevelopmentServer(model, name, rest_port, grpc_port, host, numbers) as server:
        rest = f"http://{server.rest_address}/v1/models/{server.name}"
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            _tell(
                f"Development server for {server.name}: REST on {rest}, gRPC on "
                f"{server.grpc_address}. For production use TensorFlow Serving (docs/serving.md)."
            )
            threading.Event().wait()
        _tell("Stopping after the running requests…")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

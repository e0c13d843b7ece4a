"""The development server: TensorFlow Serving's protocol without its binary, for notebooks, tests
and the page.

Production is TensorFlow Serving: this one has no batching, no TLS and one model.
"""

import importlib.util
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from ctl_keras.errors import InputError
from ctl_keras.serving.grpc_server import GrpcServer
from ctl_keras.serving.model_store import ModelStore
from ctl_keras.serving.prediction import Prediction
from ctl_keras.serving.rest_server import RestServer

REST_PORT, GRPC_PORT = 8501, 8500  # TensorFlow Serving's
MAX_REQUEST_MB = 64
_POLL_SECONDS = 1.0  # TensorFlow Serving's file_system_poll_wait_seconds
_GRACE_SECONDS = 60.0


class DevelopmentServer:
    """Serves one model over REST and gRPC from threads of this process, from when it is made until
    `stop`.

    New versions below the base path are picked up within a second, and warmed up before the old one
    goes.

    Example:
        with DevelopmentServer("saved_models/looks", rest_port=0, grpc_port=0) as server:
            httpx.get(f"http://{server.rest_address}/v1/models/looks")

    Args:
        model: `saved_models/NAME`, or one version's folder.
        name: str. Of the model in requests. Defaults to NAME.
        rest_port: int. 0 is any free one. Defaults to 8501.
        grpc_port: int. 0 is any free one. Defaults to 8500.
        host: str. Address to listen on. Defaults to "127.0.0.1", which other machines cannot reach.
        max_request_mb: float. Larger requests are refused: 413 over REST, RESOURCE_EXHAUSTED over
            gRPC. Defaults to 64.
        labels: label -> version; these versions are served beside the newest one. Defaults to none.

    Attributes:
        name: str. Of the model.
        rest_address, grpc_address: str. "host:port".

    Raises:
        InputError: there is nothing to serve, it cannot be loaded, a port is taken, or aiohttp or
            gRPC are not installed.
    """

    def __init__(
        self,
        model: str | Path,
        name: str | None = None,
        rest_port: int = REST_PORT,
        grpc_port: int = GRPC_PORT,
        host: str = "127.0.0.1",
        max_request_mb: float = MAX_REQUEST_MB,
        labels: Mapping[str, int] | None = None,
    ):
        _require_extra()
        if not 0 < max_request_mb < 2048:  # gRPC counts bytes in 32 bits
            raise InputError(
                f"`max_request_mb` must be between 0 and 2048. Received: {max_request_mb}"
            )
        max_bytes = int(max_request_mb * 2**20)
        with ExitStack() as opened:
            self._store = ModelStore(model, name, labels, _tell)
            opened.callback(self._store.close)
            # TensorFlow has threads of its own; these parse, wait for it and write
            self._pool = opened.enter_context(
                ThreadPoolExecutor(max(4, os.cpu_count() or 1), "request")
            )
            prediction = Prediction(self._store)
            self._grpc = GrpcServer(prediction, host, grpc_port, self._pool, max_bytes)
            opened.callback(self._grpc.stop, 0)
            self._rest = RestServer(
                prediction, host, rest_port, self._pool, max_bytes, _GRACE_SECONDS
            )
            opened.pop_all()
        self.name, self.rest_address, self.grpc_address = (
            self._store.name,
            self._rest.address,
            self._grpc.address,
        )
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)
        self._poller.start()

    def stop(self) -> None:
        """Takes no more requests, waits up to a minute for those that run, and frees the model."""
        self._stopping.set()
        with ThreadPoolExecutor(1) as other:
            drained = other.submit(self._grpc.stop, _GRACE_SECONDS)
            self._rest.stop()
            drained.result()
        self._pool.shutdown()
        self._poller.join()
        self._store.close()

    def __enter__(self) -> "DevelopmentServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            try:
                self._store.poll()
            # the base path is away for a moment: what is loaded goes on serving
            except OSError as error:
                _tell(f"{self.name}: {error}")


def serve(
    model: str | Path,
    name: str | None = None,
    rest_port: int = REST_PORT,
    grpc_port: int = GRPC_PORT,
    host: str = "127.0.0.1",
    max_request_mb: float = MAX_REQUEST_MB,
    labels: Sequence[str] = (),
) -> None:
    """Serves until SIGINT or SIGTERM, then lets the running requests end. Args, Raises: as
    `DevelopmentServer`; `labels` are strings such as "stable=1"."""
    with DevelopmentServer(
        model, name, rest_port, grpc_port, host, max_request_mb, _parse_labels(labels)
    ) as server:
        # the one queue that may be filled from a signal handler
        signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: signals.put(received))
        _tell(
            f"Development server for {server.name}: REST on "
            f"http://{server.rest_address}/v1/models/{server.name}, gRPC on "
            f"{server.grpc_address}. For production use TensorFlow Serving (docs/serving.md)."
        )
        received = signals.get()
        signal.signal(received, signal.SIG_DFL)  # the second one ends at once
        _tell("Stopping after the running requests…")


def _parse_labels(labels: Sequence[str]) -> dict[str, int]:
    pairs = [label.rpartition("=") for label in labels]
    for label, (name, _, version) in zip(labels, pairs, strict=True):
        if not name or not (version.isascii() and version.isdigit()):
            raise InputError(f"A label looks like stable=1. Received: {label}")
    return {name: int(version) for name, _, version in pairs}


def _require_extra() -> None:
    for module in ("aiohttp", "grpc"):
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"The development server needs {module}: pip install ctl-keras[serving]"
            )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

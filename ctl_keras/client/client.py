"""The client of TensorFlow Serving, over REST or gRPC."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from ctl_keras.client.call import Answer, Call
from ctl_keras.client.methods import ServedMethods

T = TypeVar("T")


class Client(ServedMethods[Answer]):
    """A served Complete-the-Look model, the same over REST and gRPC.

    Args:
        url: "http://HOST:8501" for REST, which needs no TensorFlow, or "grpc://HOST:8500";
            "https://" and "grpcs://" with TLS.
        model: str. The name that the server gives the model.
        version: int. Defaults to the server's newest.
        label: str. A version label such as "stable", in place of a version. Defaults to none.
        timeout: float, seconds. Deadline of each request, its retries included. Defaults to 30.
        retries: int. How often a request is sent again when the server cannot be reached or the
            connection is cut. A server that refuses because of its load (no free thread, a full
            queue, HTTP 429 or 503) is asked again until the deadline, unless `retries` is 0. The
            pauses grow and are random. Other errors are never retried. Defaults to 2.
        batch_size: int. Most rows a request; longer lists are split. Servers that batch refuse more
            than the last of their allowed batch sizes. Defaults to 32.
        ca_file: str. Certificates to trust, PEM. Defaults to the system's.
        headers: dict. Sent with each request, such as `{"authorization": "Bearer …"}`. Defaults to
            none.

    A picture is a path, a file's bytes, a uint8 array `[height, width, 3]` or a Pillow picture (see
    `picture_bytes`). Categories are the training categories, whole path or last part. Each argument
    is a list with an entry a row, or one value for all rows. Results are dicts of numpy arrays, in
    the order given. A row with a picture that can't be decoded or an unknown category has `valid`
    False, zero embeddings and the largest possible distance; it fails no other row. Empty lists
    give empty arrays without a request.

    One client can be shared by threads, and should be: it keeps its connections. It is a context
    manager.

    Raises (each method):
        InputError: arguments that don't fit, a picture that is missing.
        ServingError: the server refused or could not be reached.

    Example:

    ```python
    with ctl.Client("http://localhost:8501", model="looks") as client:
        client.score("scene.jpg", ["shoe.jpg", "boot.png"], "Shoes")["hybrid_distance"]
    ```
    """

    def metadata(self) -> dict[str, Any]:
        """The served version and its signatures.

        Returns:
            `{"model": str, "version": int, "signatures": {SIGNATURE: {"inputs": TENSORS, "outputs":
            TENSORS}}}`, where TENSORS is `{NAME: {"dtype": str, "shape": list}}`, with -1 for a
            dimension of any size.
        """
        return self._wait(self._connection.metadata())

    def status(self) -> list[dict[str, Any]]:
        """The versions that the server knows.

        Returns:
            Newest first, a dict each: `version`, int, `state` ("AVAILABLE"…) and `error`.
        """
        return self._wait(self._connection.status())

    def close(self) -> None:
        """Closes the connections."""
        self._wait(self._connection.close())

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: Call) -> Answer:
        return self._wait(self._connection.run(call))

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = self._connection.start(coroutine)
        try:
            return future.result()
        except BaseException:  # Ctrl-C ends the request, too
            future.cancel()
            raise

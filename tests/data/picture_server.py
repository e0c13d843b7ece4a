"""A real HTTP server of pictures that misbehaves as it is told, and remembers who asked for what,
and when."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        body: bytes.
        status: int.
        headers: added to Content-Length.
        delay: float, seconds before it.
        sent: int or None. Bytes of the body after which the connection is closed. Defaults to None:
            all of them.
        pieces: int. The body is sent in so many, a hundredth of a second apart.
        silent: bool. Closes the connection without an answer.
        before: called before it.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    sent: int | None = None
    pieces: int = 1
    silent: bool = False
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Request:
    id: str
    path: str
    began: float
    agent: str


class PictureServer:
    """Serves `<url>/…/<id>.jpg` on 127.0.0.1.

    Args:
        answers: id -> its answers, the first for the first request and so on; the last one is
            repeated. Other ids are 404.
        port: int. Defaults to a free one.

    Attributes:
        log: the requests, in the order in which they came.
        greatest: int. Most requests at once.
        connections: int. How many were made.
    """

    def __init__(self, answers: dict[str, list[Answer]], port: int = 0):
        self.answers, self.log, self.greatest, self.connections = answers, [], 0, 0
        self._lock, self._now = threading.Lock(), 0
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def begin(self, path: str, agent: str) -> Answer:
        id_ = unquote(path.rpartition("/")[2].removesuffix(".jpg"))
        with self._lock:
            self.log.append(Request(id_, path, time.monotonic(), agent))
            self._now += 1
            self.greatest = max(self.greatest, self._now)
            answers = self.answers.get(id_, [Answer(b"<h1>no such picture</h1>", 404)])
            return answers[min(self.asked()[id_], len(answers)) - 1]

    def end(self) -> None:
        with self._lock:
            self._now -= 1

    def asked(self) -> Counter:
        """Id -> number of requests."""
        return Counter(request.id for request in self.log)

    def times(self, id_: str) -> list[float]:
        return [request.began for request in self.log if request.id == id_]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self) -> None:
        """Nobody can connect any more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a kept connection may outlive the test
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # a client that was killed or did not wait


def _handler(server: PictureServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # headers and body in one packet, or Nagle's algorithm waits 40 ms for each answer
        wbufsize = -1

        def setup(self):
            server.connections += 1
            super().setup()

        def do_GET(self):
            answer = server.begin(self.path, self.headers["User-Agent"])
            try:
                answer.before()
                time.sleep(answer.delay)
            finally:
                server.end()
            if answer.silent:
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            body = answer.body[: answer.sent]
            size = max(-(-len(body) // answer.pieces), 1)
            for start in range(0, len(body), size):
                self.wfile.write(body[start : start + size])
                if answer.pieces > 1:
                    self.wfile.flush()
                    time.sleep(0.01)
            self.close_connection |= answer.sent is not None

        def log_message(self, *_):
            pass

    return Handler

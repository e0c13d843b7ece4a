"""The client against servers that misbehave on purpose."""

import contextlib
import itertools
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ctl_keras.client import Client, ServingError
from tests.client.stub_server import RefusalError, StubServer, lengths


def fails(times, status, words="not now"):
    """Refuses the first requests."""
    numbers = itertools.count()

    def answer(signature, inputs):
        if next(numbers) < times:
            raise RefusalError(status, words)
        return lengths(signature, inputs)

    return answer


# as TensorFlow Serving says it
BUSY = [
    ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted"),
    ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full"),
]


@pytest.mark.parametrize(("status", "words"), BUSY)
def test_a_busy_server_is_asked_again_until_it_answers(scheme, connect, status, words):
    with (
        StubServer(scheme, fails(7, status, words)) as server,
        connect(server.url, "looks", retries=1) as client,
    ):
        assert client.embed_product([b"1"])["valid"].all()
        assert len(server.requests) == 8


@pytest.mark.parametrize(("status", "words"), BUSY)
def test_a_busy_server_is_asked_until_the_deadline(scheme, connect, status, words):
    with StubServer(scheme, fails(99, status, words)) as server:
        began = time.monotonic()
        with (
            connect(server.url, "looks", timeout=0.8) as client,
            pytest.raises(ServingError, match=f"{status}: {words}.*send fewer") as caught,
        ):
            client.embed_product([b"1"])
        assert time.monotonic() - began < 3
        assert caught.value.is_busy
        tried = len(server.requests)
        assert tried > 1  # the pauses are random
        with connect(server.url, "looks", retries=0) as client, pytest.raises(ServingError):
            client.embed_product([b"1"])
        assert len(server.requests) == tried + 1


@pytest.mark.parametrize(("status", "words"), BUSY)
def test_nine_of_ten_calls_refused(scheme, status, words):
    """All are answered within their deadline."""
    numbers = itertools.count()

    def answer(signature, inputs):
        if next(numbers) % 10:
            raise RefusalError(status, words)
        return lengths(signature, inputs)

    seconds = []

    def ask(number):
        began = time.monotonic()
        assert client.embed_product(b"x" * number)["embedding"][0, 0] == number
        seconds.append(time.monotonic() - began)

    with (
        StubServer(scheme, answer) as server,
        Client(server.url, "looks", timeout=30) as client,
        ThreadPoolExecutor(32) as threads,
    ):
        list(threads.map(ask, range(1, 51)))
        assert len(server.requests) >= 491
    assert max(seconds) < 30


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("Received message larger than max (5000000 vs. 4194304)", 10),
        ("413 Request Entity Too Large", 10),
        ("no", 5 * 2**20),  # words that say nothing, and a request above the usual limit
    ],
)
def test_a_message_that_is_too_large_is_not_sent_again(scheme, connect, words, size):
    with (
        StubServer(scheme, fails(1, "RESOURCE_EXHAUSTED", words)) as server,
        connect(server.url, "looks") as client,
        pytest.raises(ServingError, match="RESOURCE_EXHAUSTED: .*lower `batch_size`") as caught,
    ):
        client.embed_product([bytes(size)])
    assert not caught.value.is_busy
    assert len(server.requests) == 1


@pytest.mark.parametrize("retries", [0, 2])
def test_attempts_to_reach_a_server_end(connect, retries):
    attempts = []

    def cut():
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
                attempts.append(time.monotonic())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=cut, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            connect(url, "looks", retries=retries) as client,
            pytest.raises(ServingError, match="UNAVAILABLE: .* cannot be reached"),
        ):
            client.status()
        listener.shutdown(socket.SHUT_RDWR)
    assert len(attempts) == retries + 1
    # the pauses grow: 0.1 to 0.2 s, 0.2 to 0.4 s
    for number, pause in enumerate(np.diff(attempts)):
        assert 0.1 * 2**number <= pause < 0.2 * 2**number + 0.2


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "NOT_FOUND"])
def test_refusals_are_not_asked_again(scheme, connect, status):
    with StubServer(scheme, fails(1, status)) as server, connect(server.url, "looks") as client:
        with pytest.raises(ServingError) as caught:
            client.embed_product([b"1"])
        assert caught.value.status == status
        assert "not now" in caught.value.message
        assert len(server.requests) == 1


def test_deadline(scheme, connect):
    def slow(signature, inputs):
        time.sleep(2)
        return lengths(signature, inputs)

    with StubServer(scheme, slow) as server, connect(server.url, "looks", timeout=0.4) as client:
        began = time.perf_counter()
        with pytest.raises(
            ServingError,
            match=r"DEADLINE_EXCEEDED: .* did not answer within 0.4 s. Raise `timeout`",
        ):
            client.embed_product([b"1"])
        assert time.perf_counter() - began < 1.5
        assert len(server.requests) == 1


@pytest.mark.parametrize("header", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_trickle_does_not_escape_the_deadline(connect, header):
    """A server that sends a byte of its header or its body now and then keeps each read short, but
    not the request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle():
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(header)
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

    threading.Thread(target=trickle, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with listener, connect(url, "looks", timeout=0.5) as client:
        began = time.perf_counter()
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED: .* within 0.5 s"):
            client.status()
        assert time.perf_counter() - began < 1


def test_a_proxy_that_breaks_a_loopback_address_is_named(scheme, connect, monkeypatch):
    for name in ("all_proxy", "https_proxy", "no_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{free_port()}")
    with StubServer(scheme, lengths) as server:
        with (
            connect(server.url, "looks", retries=0, timeout=5) as client,
            pytest.raises(ServingError, match="environment's http_proxy.*no_proxy") as caught,
        ):
            client.embed_product([b"1"])
        assert "secret" not in caught.value.hint
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with connect(server.url, "looks", retries=0) as client:
            assert client.embed_product([b"1"])["valid"].all()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_no_server(scheme, connect):
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with (
        connect(url, "looks", retries=1) as client,
        pytest.raises(
            ServingError,
            match=rf"UNAVAILABLE: {url} cannot be reached: .*Is the server running there\?",
        ) as caught,
    ):
        client.embed_product([b"1"])
    assert caught.value.status == "UNAVAILABLE"


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_starts_meanwhile(scheme):
    """The retries of a refused connection are attempts of their own."""
    port = free_port()
    server = []

    def start():
        time.sleep(0.5)
        if scheme == "http":
            import http.server

            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b'{"model_version_status": []}')

                def log_message(self, *_):
                    pass

            server.append(http.server.HTTPServer(("127.0.0.1", port), Handler))
            server[0].handle_request()
            server[0].server_close()
        else:
            from concurrent import futures

            import grpc

            server.append(grpc.server(futures.ThreadPoolExecutor(1)))
            server[0].add_insecure_port(f"127.0.0.1:{port}")
            server[0].start()

    thread = threading.Thread(target=start)
    thread.start()
    with Client(f"{scheme}://127.0.0.1:{port}", "looks", retries=8) as client:
        if scheme == "http":
            assert client.status() == []
        else:  # reached: a server without services
            with pytest.raises(ServingError, match="UNIMPLEMENTED"):
                client.status()
    thread.join()


def test_a_cut_connection_is_asked_again(connect):
    listener = socket.create_server(("127.0.0.1", 0))

    def cut_then_answer():
        for attempt in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if attempt:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    threading.Thread(target=cut_then_answer, daemon=True).start()
    with listener, connect(f"http://127.0.0.1:{listener.getsockname()[1]}", "looks") as client:
        assert client.status() == []


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("recommend", "The export has no catalog: export with one"),
        ("rerank", "The export has no catalog: export with one"),
        ("score_embeddings", "no inner-product form"),
        ("embed_product", "The model was not exported by `ctl-keras export`"),
    ],
)
def test_missing_signatures_say_what_to_do(scheme, connect, signature, message):
    def missing(signature, inputs):
        raise RefusalError("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')

    arguments = {
        "recommend": ([b"1"], "Shoes"),
        "rerank": ([b"1"], "Shoes", [["a"]]),
        "score_embeddings": ([[1.0]], [[1.0]]),
        "embed_product": ([b"1"],),
    }[signature]
    with (
        StubServer(scheme, missing) as server,
        connect(server.url, "looks") as client,
        pytest.raises(ServingError, match=f'signature key "{signature}" not found.*{message}'),
    ):
        getattr(client, signature)(*arguments)


def test_a_batch_above_the_servers_limit_names_the_setting(scheme):
    def refuse(signature, inputs):
        raise RefusalError(
            "INVALID_ARGUMENT", "Task size 9 is larger than maximum input batch size 8"
        )

    with (
        StubServer(scheme, refuse) as server,
        Client(server.url, "looks") as client,
        pytest.raises(ServingError, match="Set `batch_size` to at most"),
    ):
        client.embed_product([b"1"] * 9)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"other": np.zeros(1, np.float32)}, "without|rows of"),
        (
            {"embedding": np.zeros((3, 2), np.float32), "valid": np.ones(3, bool)},
            "answers 1 rows of `embed_product` with",
        ),
        ({"embedding": np.zeros(1, np.float32), "valid": np.ones(1, bool)}, r"of the shape \[1\]"),
    ],
)
def test_answers_of_another_model(scheme, connect, answer, message):
    with (
        StubServer(scheme, lambda signature, inputs: answer) as server,
        connect(server.url, "looks") as client,
        pytest.raises(
            ServingError,
            match=rf"UNKNOWN: .*({message}).*Is a Complete-the-Look export served there",
        ),
    ):
        client.embed_product([b"1"])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            "UNKNOWN: .*something else than JSON",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "UNKNOWN: .* without `outputs`"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{"outputs": {"embedding": "xyz"}}',
            "UNKNOWN: ",
        ),
        (
            b"HTTP/1.1 418 T\r\nContent-Length: 6\r\n\r\n<html>",
            r"INVALID_ARGUMENT: <html> \(HTTP 418\)",
        ),
        (b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", r"INTERNAL: .*\(HTTP 500\)"),
        # a gRPC port
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "UNAVAILABLE: .* cannot be reached.*gRPC"),
    ],
)
def test_answers_of_other_servers(reply, message):
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    threading.Thread(target=answer, daemon=True).start()
    with (
        listener,
        Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "looks", retries=0) as client,
        pytest.raises(ServingError, match=message),
    ):
        client.embed_product([b"1"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += [
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        folder / "key.pem",
        "-out",
        folder / "cert.pem",
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not here")
    return folder / "cert.pem", folder / "key.pem"


def test_tls_and_headers(scheme, connect, certificate):
    with StubServer(scheme, lengths, certificate) as server:
        with connect(
            server.url, "looks", ca_file=certificate[0], headers={"Authorization": "Bearer x"}
        ) as client:
            assert client.embed_product([b"1"])["valid"].all()
        assert (
            dict(server.requests[0][2])["Authorization" if scheme == "http" else "authorization"]
            == "Bearer x"
        )
        with (
            connect(server.url, "looks", retries=0) as client,
            pytest.raises(ServingError, match="UNAVAILABLE"),
        ):
            client.embed_product([b"1"])  # not trusted

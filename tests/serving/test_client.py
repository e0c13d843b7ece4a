"""The client against servers that misbehave on purpose; against the real protocol:
test_client_and_server.py."""

import asyncio
import io
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.serving import AsyncClient, Client, ServingError
from ctl_keras.serving.client_retries import Attempts
from ctl_keras.serving.client_target import Limits
from tests.serving.stub_server import RefusalError, StubServer

SCHEMES = ["http", "grpc"]


class InLoop:
    """An AsyncClient with the methods of Client: each test covers both."""

    def __init__(self, *arguments, **settings):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **settings)

    def __getattr__(self, name):
        return lambda *arguments, **named: self._loop.run_until_complete(
            getattr(self._client, name)(*arguments, **named)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(params=[Client, InLoop], ids=["sync", "asyncio"])
def connect(request):
    return request.param


@pytest.fixture(params=SCHEMES)
def scheme(request):
    return request.param


def lengths(signature, inputs):
    """Answers with the lengths of the files, so that a test sees which row came from which
    picture."""
    # a protobuf map has no order
    names = ("scene_bytes", "product_bytes", "category", "query", "product_id")
    inputs = {name: inputs[name] for name in names if name in inputs}
    rows = [np.float32([len(value) for value in values]) for values in inputs.values()]
    count = len(rows[0])
    valid = np.array([not bytes(value).startswith(b"bad") for value in next(iter(inputs.values()))])
    table = np.stack([rows[0]] * 3, axis=1)
    return {
        "serving_default": lambda: {
            "hybrid_distance": rows[1],
            "global_distance": rows[0],
            "local_distance": rows[2],
            "compatibility": rows[0],
            "valid": valid,
        },
        "embed_scene": lambda: {
            "query": table,
            "global_embedding": table,
            "attention": table[:, :, None],
            "valid": valid,
        },
        "embed_product": lambda: {"embedding": table, "valid": valid},
        "score_embeddings": lambda: {
            "hybrid_distance": np.sum(np.float32(list(inputs["query"])), axis=1, dtype=np.float32)
        },
        "recommend": lambda: {
            "product_id": np.array([["a", "ü", "c"]] * count),
            "hybrid_distance": table,
            "valid": valid,
        },
        "rerank": lambda: {"hybrid_distance": table, "known": table > 5},
    }[signature]()


def fails(times, status, then=lengths):
    """Refuses the first requests."""
    counter = iter(range(10**6))

    def answer(signature, inputs):
        if next(counter) < times:
            raise RefusalError(status, "not now")
        return then(signature, inputs)

    return answer


def png(image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_every_method(scheme, connect):
    with (
        StubServer(scheme, lengths) as server,
        connect(server.url, "looks", batch_size=2) as client,
    ):
        scored = client.score(b"scene", [b"1", b"22", b"333"], "Shoes")
        np.testing.assert_array_equal(scored["hybrid_distance"], [1, 2, 3])
        np.testing.assert_array_equal(scored["global_distance"], [5, 5, 5])
        assert scored["hybrid_distance"].dtype == np.float32
        pairs = client.score_pairs([b"1", b"bad"], [b"4", b"55"], ["Shoes", "Hat"])
        assert pairs["valid"].tolist() == [True, False]
        assert pairs["valid"].dtype == bool
        np.testing.assert_array_equal(pairs["local_distance"], [5, 3])
        scenes = client.embed_scene([b"1", b"22", b"333"], "Shoes")
        np.testing.assert_array_equal(scenes["query"][:, 0], [1, 2, 3])
        assert scenes["attention"].shape == (3, 3, 1)
        np.testing.assert_array_equal(client.embed_product([b"1"])["embedding"], [[1, 1, 1]])
        query = np.float32([[0.1, 0.2], [0.3, 0.4], [1, 1]])
        distance = client.score_embeddings(query, np.zeros((3, 2)))["hybrid_distance"]
        np.testing.assert_allclose(distance, query.sum(axis=1), atol=1e-7)
        np.testing.assert_allclose(
            client.score_embeddings(query[2], np.zeros((3, 2)))["hybrid_distance"], 2
        )
        found = client.recommend([b"1", b"22"], "Shoes", k=2)
        assert found["product_id"].tolist() == [["a", "ü"]] * 2
        assert found["hybrid_distance"].shape == (2, 2)
        reranked = client.rerank(
            [b"1", b"55555555"], ["Shoes", "Hat"], [["a", "b", "c"], ["c", "b", "ä"]]
        )
        assert reranked["known"].tolist() == [[False] * 3, [True] * 3]
        # the columns that a batching server has padded are cut
        assert {value.shape for value in client.rerank([b"1"], "Shoes", [["a", "b"]]).values()} == {
            (1, 2)
        }
        with pytest.raises(ctl.InputError, match="`k` is 4, but the export recommends 3 products"):
            client.recommend([b"1"], "Shoes", k=4)
    ids = next(
        inputs["product_id"] for signature, inputs, _ in server.requests if signature == "rerank"
    )
    last = ids.tolist()[1][2]
    assert (last.decode() if isinstance(last, bytes) else last) == "ä"


def test_empty_lists_send_nothing(scheme, connect):
    with StubServer(scheme, lengths) as server, connect(server.url, "looks") as client:
        assert client.score(b"scene", [], "Shoes")["hybrid_distance"].shape == (0,)
        assert client.score_pairs([], [], [])["valid"].dtype == bool
        assert client.embed_scene([], "Shoes")["attention"].shape == (0, 0, 0)
        assert client.embed_product([])["embedding"].shape == (0, 0)
        assert client.recommend([], [], k=5)["product_id"].shape == (0, 0)
        assert client.rerank([], [], [])["known"].shape == (0, 0)
    assert not server.requests


def test_long_lists_are_split(scheme, connect):
    with (
        StubServer(scheme, lengths) as server,
        connect(server.url, "looks", batch_size=3) as client,
    ):
        answer = client.score_pairs([b"x"] * 8, [b"y" * (row + 1) for row in range(8)], "Shoes")
    np.testing.assert_array_equal(answer["hybrid_distance"], range(1, 9))
    assert [len(inputs["category"]) for _, inputs, _ in server.requests] == [3, 3, 2]


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_unavailable_servers_are_asked_again(scheme, connect, status):
    with (
        StubServer(scheme, fails(2, status)) as server,
        connect(server.url, "looks", retries=2) as client,
    ):
        # over gRPC also a message that is too large
        if scheme == "grpc" and status == "RESOURCE_EXHAUSTED":
            with pytest.raises(
                ServingError, match="RESOURCE_EXHAUSTED: not now. .* lower `batch_size`"
            ):
                client.embed_product([b"1"])
            assert len(server.requests) == 1
            return
        assert client.embed_product([b"1"])["valid"].all()
        assert len(server.requests) == 3


def test_retries_end(scheme, connect):
    with (
        StubServer(scheme, fails(9, "UNAVAILABLE")) as server,
        connect(server.url, "looks", retries=1) as client,
    ):
        with pytest.raises(
            ServingError, match=r"UNAVAILABLE: not now.*try again later, or raise `retries`"
        ) as caught:
            client.embed_product([b"1"])
        assert caught.value.status == "UNAVAILABLE"
        assert len(server.requests) == 2


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


def test_a_trickle_does_not_escape_the_deadline(connect):
    """A server that sends a byte now and then keeps each read below the timeout, but not the
    request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            try:
                for _ in range(50):
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                pass

    threading.Thread(target=trickle, daemon=True).start()
    with (
        listener,
        connect(f"http://127.0.0.1:{listener.getsockname()[1]}", "looks", timeout=0.5) as client,
    ):
        began = time.perf_counter()
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
            client.status()
        assert time.perf_counter() - began < 2


def test_backoff_stays_within_deadline_and_number():
    error = ServingError("UNAVAILABLE", "x", may_retry=True)
    attempts = Attempts(Limits(timeout=100, retries=6, batch_size=1))
    pauses = [attempts.pause(error) for _ in range(6)]
    assert all(
        0.1 * 2**index <= pause <= 0.1 * 2 ** (index + 1) for index, pause in enumerate(pauses[:4])
    )
    assert max(pauses) <= 2
    with pytest.raises(ServingError):
        attempts.pause(error)
    with pytest.raises(ServingError):
        Attempts(Limits(timeout=0.05, retries=6, batch_size=1)).pause(error)
    with pytest.raises(ServingError):
        Attempts(Limits(timeout=100, retries=6, batch_size=1)).pause(
            ServingError("INVALID_ARGUMENT", "x")
        )


def test_messages_above_four_megabytes(scheme, connect):
    def large(signature, inputs):
        assert sum(len(value) for value in inputs["scene_bytes"]) > 4 * 2**20
        wide = np.zeros((len(inputs["category"]), 2**20), np.float32)
        return {
            "query": wide,
            "global_embedding": wide[:, :1],
            "attention": wide[:, :1, None],
            "valid": wide[:, 0] == 0,
        }

    with StubServer(scheme, large) as server, connect(server.url, "looks") as client:
        assert client.embed_scene([bytes(5 * 2**20), b""], "Shoes")["query"].nbytes > 4 * 2**20


def test_every_picture_type(scheme, connect, photo, tmp_path):
    photo.save(tmp_path / "a.png")
    photo.save(tmp_path / "a.webp", lossless=True)
    array = np.asarray(photo)
    pictures = [
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
        (tmp_path / "a.png").read_bytes(),
        bytearray((tmp_path / "a.png").read_bytes()),
        tmp_path / "a.webp",
        (tmp_path / "a.webp").read_bytes(),
        array,
        array[::-1][::-1],
        photo,
        photo.convert("RGBA"),
    ]
    with StubServer(scheme, lengths) as server, connect(server.url, "looks") as client:
        client.embed_product(pictures)
        client.embed_product(array[None])
    for data in [
        *server.requests[0][1]["product_bytes"],
        server.requests[1][1]["product_bytes"][0],
    ]:
        np.testing.assert_array_equal(
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), array
        )


def test_wrong_arguments(scheme, connect, tmp_path):
    with StubServer(scheme, lengths) as server, connect(server.url, "looks") as client:
        for call, message in [
            (
                lambda: client.embed_product("a.jpg"),
                "`products` must be a list, one entry a row. Received: str",
            ),
            (
                lambda: client.embed_product(np.zeros((9, 9, 3), np.uint8)),
                "`products` must be a list",
            ),
            (
                lambda: client.embed_product(7),
                "`products` must be a list, one entry a row. Received: int",
            ),
            (
                lambda: client.embed_product([b"1", tmp_path / "no.jpg"]),
                r"products\[1\]: The picture .*no.jpg does not exist",
            ),
            (
                lambda: client.embed_product([np.zeros((9, 9, 3))]),
                r"must be uint8.*Received: float64 \[9, 9, 3\]",
            ),
            (
                lambda: client.score(None, [b"1"], "Shoes"),
                "scene: A picture must be a path.*Received: NoneType",
            ),
            (lambda: client.score(b"1", [b"1"], ["Shoes"]), "`category` must be one string"),
            (
                lambda: client.score_pairs([b"1"], [b"1", b"2"], "Shoes"),
                "need the same length. Received: scenes 1, products 2",
            ),
            (
                lambda: client.score_pairs([b"1"], [b"2"], ["a", "b"]),
                "Received: 1 pictures, 2 categories",
            ),
            (lambda: client.embed_scene([b"1"], [3]), "`categories` must be strings. Received: 3"),
            (
                lambda: client.score_embeddings(np.zeros((2, 3)), np.zeros((2, 4))),
                r"Received: \[2, 3\] and \[2, 4\]",
            ),
            (lambda: client.score_embeddings([[float("nan")]], [[1.0]]), "must be finite numbers"),
            (lambda: client.score_embeddings("x", [[1.0]]), "`query` must be an array of numbers"),
            (lambda: client.recommend([b"1"], "Shoes", k=0), "`k` must be positive. Received: 0"),
            (
                lambda: client.rerank([b"1", b"2"], "Shoes", [["a"], ["a", "b"]]),
                r"equally many `product_ids`.*\[1, 2\]",
            ),
            (
                lambda: client.rerank([b"1"], "Shoes", ["a"]),
                "`product_ids` must be a list, one entry a row. Received: str",
            ),
            (
                lambda: client.rerank([b"1"], "Shoes", [[7]]),
                "`product_ids` must be strings. Received: 7",
            ),
        ]:
            with pytest.raises(ctl.InputError, match=message):
                call()
    assert not server.requests


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"url": "localhost:8500"},
            "has no scheme or no host. Received: 'localhost:8500'. Give http://HOST:8501",
        ),
        ({"url": "ftp://localhost"}, "has no scheme"),
        ({"url": "grpc://localhost"}, "A gRPC address is host and port alone"),
        ({"url": "grpc://localhost:1/x"}, "A gRPC address is host and port alone"),
        ({"url": "http://localhost:port"}, "cannot be read"),
        ({"url": None}, "has no scheme|cannot be read"),
        ({"model": ""}, "`model` must be the name"),
        ({"version": 1, "label": "stable"}, "Give `version` or `label`, not both"),
        ({"timeout": 0}, "`timeout` must be positive, in seconds. Received: 0"),
        ({"retries": -1}, "`retries` must be 0 or more"),
        ({"batch_size": 0}, "`batch_size` must be positive"),
        (
            {"url": "https://localhost", "ca_file": "/none.pem"},
            "`ca_file` holds no certificates.*none.pem",
        ),
        (
            {"url": "grpcs://localhost:1", "ca_file": "/none.pem"},
            "`ca_file` cannot be read.*none.pem",
        ),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ctl.InputError, match=message):
        Client(**{"url": "http://localhost:1", "model": "looks", **settings})


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


@pytest.mark.parametrize("scheme", SCHEMES)
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


def test_rest_imports_no_tensorflow():
    with StubServer("http", lengths) as server:
        code = f"""
import asyncio, sys
import ctl_keras as ctl
with ctl.Client({server.url!r}, model="looks") as client:
    assert client.score(b"s", [b"p"], "Shoes")["valid"].all()
async def main():
    async with ctl.AsyncClient({server.url!r}, model="looks") as client:
        assert (await client.score(b"s", [b"p"], "Shoes"))["valid"].all()
asyncio.run(main())
try:
    with ctl.Client("http://127.0.0.1:1", model="looks", retries=0) as client:
        client.status()
except ctl.ServingError:
    pass
assert "tensorflow" not in sys.modules and "keras" not in sys.modules, "TensorFlow was imported"
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_httpx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'ctl-keras[serving]'")):
        Client("http://localhost:1", "looks")


def test_errors_survive_pickling():
    """Process pools send them home."""
    import pickle

    error = ServingError("NOT_FOUND", "No model.", "Check it.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "NOT_FOUND: No model. Check it."
    assert again.status == "NOT_FOUND"


def test_threads_share_a_client(scheme):
    with (
        StubServer(scheme, lengths) as server,
        Client(server.url, "looks", batch_size=2) as client,
    ):
        results = {}

        def work(size):
            results[size] = client.embed_product([b"x" * size] * 5)["embedding"][:, 0].tolist()

        threads = [threading.Thread(target=work, args=(size,)) for size in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {size: [float(size)] * 5 for size in range(1, 9)}

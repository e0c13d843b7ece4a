"""The client's methods and arguments. Against a server that is sent real pictures:
tests/serving/test_client_and_server.py."""

import asyncio
import io
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.client import AsyncClient, Client, ServingError
from tests.client.stub_server import StubServer, lengths


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


def test_one_value_stands_for_all_rows(scheme, connect, photo, tmp_path):
    photo.save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    with (
        StubServer(scheme, lengths) as server,
        connect(server.url, "looks", batch_size=2) as client,
    ):
        for picture in (tmp_path / "a.png", str(tmp_path / "a.png"), b"x" * size):
            scenes = client.embed_scene(picture, ["Shoes", "Hats", "Bags"])
            np.testing.assert_array_equal(scenes["query"][:, 0], [size] * 3)
        for picture in (photo, np.asarray(photo), np.asarray(photo)[..., 0], b"x"):
            assert client.embed_product(picture)["valid"].tolist() == [True]
        assert client.score(photo, b"22", "Shoes")["hybrid_distance"].tolist() == [2]
        scored = client.score_pairs([b"1", b"22"], b"333", ["a", "bb"])
        np.testing.assert_array_equal(scored["hybrid_distance"], [3, 3])
        assert client.recommend(b"1", "Shoes")["product_id"].shape == (1, 3)
        assert client.rerank(b"1", "Shoes", [["a", "b"]] * 3)["known"].shape == (3, 2)
        assert client.embed_scene(b"1", [])["query"].shape == (0, 0)


def test_long_lists_are_split(scheme, connect):
    with (
        StubServer(scheme, lengths) as server,
        connect(server.url, "looks", batch_size=3) as client,
    ):
        answer = client.score_pairs([b"x"] * 8, [b"y" * (row + 1) for row in range(8)], "Shoes")
    np.testing.assert_array_equal(answer["hybrid_distance"], range(1, 9))
    assert [len(inputs["category"]) for _, inputs, _ in server.requests] == [3, 3, 2]


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
            (lambda: client.embed_product("a.jpg"), "products: The picture a.jpg does not exist"),
            (
                lambda: client.embed_product(7),
                "`products` must be a picture or a list. Received: int",
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
                "`scenes` must be a picture or a list. Received: NoneType",
            ),
            (lambda: client.embed_product([None]), r"products\[0\]: A picture must be a path"),
            (
                lambda: client.score_pairs([b"1"], [b"1", b"2"], "Shoes"),
                "need the same length. Received: scenes 1, products 2",
            ),
            (
                lambda: client.score_pairs([b"1"], [b"2"], ["a", "b"]),
                "Received: scenes 1, categories 2, products 1",
            ),
            (lambda: client.embed_scene([b"1"], [3]), "`categories` must be strings. Received: 3"),
            (
                lambda: client.score_embeddings(np.zeros((2, 3)), np.zeros((2, 4))),
                r"need the same d. Received: \[\[2, 3\], \[2, 4\]\]",
            ),
            (lambda: client.score_embeddings([[float("nan")]], [[1.0]]), "must be finite numbers"),
            (lambda: client.score_embeddings("x", [[1.0]]), "`query` must be numbers"),
            (lambda: client.recommend([b"1"], "Shoes", k=0), "`k` must be positive. Received: 0"),
            (
                lambda: client.rerank([b"1", b"2"], "Shoes", [["a"], ["a", "b"]]),
                r"equally many `product_ids`.*\[1, 2\]",
            ),
            (
                lambda: client.rerank([b"1"], "Shoes", ["a"]),
                "`product_ids` must be a list of lists",
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
        ({"url": "grpc://localhost"}, "address is not host and port alone"),
        ({"url": "grpc://localhost:1/x"}, "address is not host and port alone"),
        ({"url": "http://localhost:port"}, "cannot be read"),
        ({"url": None}, "has no scheme|cannot be read"),
        ({"model": ""}, "`model` must be the model's name"),
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


def test_many_calls_at_once(scheme):
    async def ask():
        async with AsyncClient(server.url, "looks") as client:
            tasks = [asyncio.create_task(client.embed_product(b"x" * n)) for n in range(1, 65)]
            return [answer["embedding"][0, 0] for answer in await asyncio.gather(*tasks)]

    with StubServer(scheme, lengths) as server:
        assert asyncio.run(ask()) == list(range(1, 65))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_client_survives_a_fork():
    """As under a web server that forks its workers: the child has no thread of its parent's."""
    with StubServer("http", lengths) as server, Client(server.url, "looks", timeout=10) as client:
        assert client.embed_product(b"1")["valid"].all()
        child = os.fork()
        if not child:
            os._exit(0 if client.embed_product(b"22")["embedding"][0, 0] == 2 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_share_a_client(scheme):
    with StubServer(scheme, lengths) as server, Client(server.url, "looks", batch_size=2) as client:
        results = {}

        def work(size):
            results[size] = client.embed_product([b"x" * size] * 5)["embedding"][:, 0].tolist()

        threads = [threading.Thread(target=work, args=(size,)) for size in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {size: [float(size)] * 5 for size in range(1, 9)}

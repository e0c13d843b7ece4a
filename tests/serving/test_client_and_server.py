"""The client's answers are the export's own, over both protocols, with and without asyncio.

`server` is TensorFlow Serving, which serves the export as versions 1, labelled `stable`, and 2.
"""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ctl_keras as ctl
from tests.client.in_loop import InLoop

TOLERANCE = 1e-5
CATEGORY = "Apparel & Accessories|Shoes"


@pytest.fixture(params=[ctl.Client, InLoop], ids=["sync", "asyncio"])
def connect(request):
    return request.param


@pytest.fixture(params=["http", "grpc"])
def url(request, server):
    return (
        server.rest.partition("/v1/")[0]
        if request.param == "http"
        else f"grpc://{server.grpc_address}"
    )


@pytest.fixture
def client(url, connect):
    with connect(url, "looks") as client:
        yield client


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    return lambda name, **inputs: {
        key: value.numpy()
        for key, value in loaded.signatures[name](
            **{k: tf.constant(v) for k, v in inputs.items()}
        ).items()
    }


@pytest.fixture(scope="module")
def scenes(drawn):
    ids = [
        json.loads(line)["scene"] for line in (drawn / "fashion.json").read_text().splitlines()[:6]
    ]
    return [drawn / "images" / f"{name}.jpg" for name in ids]


@pytest.fixture(scope="module")
def products(records):
    with open(records / "products.csv", newline="") as file:
        return [row["image"] for row in csv.DictReader(file) if row["category"] == CATEGORY][:6]


def data(paths):
    return [open(path, "rb").read() for path in paths]


def assert_same(answer, expected):
    assert set(answer) == set(expected)
    for name, value in expected.items():
        assert answer[name].dtype == value.dtype, name
        assert answer[name].shape == value.shape, name
        np.testing.assert_allclose(answer[name], value, rtol=0, atol=TOLERANCE, err_msg=name)


def test_scores_are_those_of_the_local_model(client, exported, scenes, products):
    answer = client.score(scenes[0], products, "Shoes")
    here = ctl.LocalModel(exported).score(scenes[0], products, "Shoes")
    for name, values in answer.items():
        np.testing.assert_allclose(values, here[name], rtol=0, atol=TOLERANCE)
    assert answer["valid"].all()


def test_every_signature(client, signatures, scenes, products):
    categories = [CATEGORY, "Shoes"] * 3
    expected = signatures(
        "serving_default",
        scene_bytes=data(scenes),
        product_bytes=data(products),
        category=categories,
    )
    assert_same(client.score_pairs(scenes, products, categories), expected)
    embedded = signatures("embed_scene", scene_bytes=data(scenes), category=categories)
    answer = client.embed_scene(scenes, categories)
    assert_same(answer, embedded)
    stored = client.embed_product(products)
    assert_same(stored, signatures("embed_product", product_bytes=data(products)))
    distance = client.score_embeddings(answer["query"], stored["embedding"])
    np.testing.assert_allclose(
        distance["hybrid_distance"], expected["hybrid_distance"], rtol=0, atol=10 * TOLERANCE
    )
    direct = signatures("score_embeddings", query=answer["query"], embedding=stored["embedding"])
    assert_same(distance, direct)


def test_portions_change_nothing(url, connect, scenes, products):
    with connect(url, "looks") as whole, connect(url, "looks", batch_size=4) as split:
        one, other = (client.score_pairs(scenes, products, "Shoes") for client in (whole, split))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-5)


def test_picture_types_agree(client, scenes, products, tmp_path):
    with Image.open(products[0]) as image:
        image.load()
    image.save(tmp_path / "a.webp", lossless=True)
    pictures = [products[0], data(products)[0], tmp_path / "a.webp", image, np.asarray(image)]
    distance = client.score(scenes[0], pictures, "Shoes")["hybrid_distance"]
    np.testing.assert_allclose(distance[:2], distance[0], atol=1e-6)
    np.testing.assert_allclose(distance[2:], distance[2], atol=1e-6)
    # Pillow's JPEG decoder and TensorFlow's
    np.testing.assert_allclose(distance, distance[0], atol=1e-3)


def test_bad_rows_are_flagged_and_fail_no_other(client, scenes, products):
    bad = b"\xff\xd8\xff no picture"
    answer = client.score(scenes[0], [products[0], bad, b"", products[1]], "Shoes")
    assert answer["valid"].tolist() == [True, False, False, True]
    assert answer["hybrid_distance"][1] == 4
    assert answer["hybrid_distance"][[0, 3]].max() < 4
    alone = client.score(scenes[0], products[:2], "Shoes")["hybrid_distance"]
    np.testing.assert_allclose(answer["hybrid_distance"][[0, 3]], alone, atol=1e-5)
    answer = client.embed_scene([scenes[0], bad, scenes[1]], ["Shoes", "Shoes", "Socks of Mars"])
    assert answer["valid"].tolist() == [True, False, False]
    assert not answer["query"][1:].any()


def test_metadata_and_status(client, exported):
    metadata = client.metadata()
    manifest = json.loads((exported / "1" / "manifest.json").read_text())
    assert (metadata["model"], metadata["version"]) == ("looks", 2)
    assert metadata["signatures"].keys() == manifest["signatures"].keys()
    assert metadata["signatures"]["embed_product"]["inputs"] == {
        "product_bytes": {"dtype": "string", "shape": [-1]}
    }
    outputs = metadata["signatures"]["embed_product"]["outputs"]
    assert outputs == {
        "embedding": {"dtype": "float32", "shape": [-1, 16]},
        "valid": {"dtype": "bool", "shape": [-1]},
    }
    assert client.status() == [
        {"version": version, "state": "AVAILABLE", "error": ""} for version in (2, 1)
    ]


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"version": 9}, "NOT_FOUND"),
        ({"label": "unknown"}, "INVALID_ARGUMENT"),
        ({"model": "other"}, "NOT_FOUND"),
        ({"model": "a b/c?d"}, "NOT_FOUND"),
    ],
)
def test_what_is_not_served(url, connect, products, settings, status):
    with connect(url, **{"model": "looks", **settings}) as client:
        for call in (lambda: client.embed_product(products[:1]), client.metadata):
            with pytest.raises(ctl.ServingError) as caught:
                call()
            assert caught.value.status == status


@pytest.mark.parametrize("settings", [{"version": 1}, {"label": "stable"}])
def test_a_named_version(url, connect, products, settings):
    with connect(url, "looks", **settings) as client:
        assert client.embed_product(products[:1])["valid"].all()
        assert client.metadata()["version"] == 1
        assert 1 in [row["version"] for row in client.status()]


def test_without_a_catalog(client, scenes):
    with pytest.raises(ctl.ServingError, match="The export has no catalog: export with one"):
        client.recommend(scenes[:1], "Shoes")
    with pytest.raises(ctl.ServingError, match="The export has no catalog: export with one"):
        client.rerank(scenes[:1], "Shoes", [["a"]])


def test_more_than_four_megabytes(client, scenes):
    """A picture with comments: 6 MB of them."""
    picture = data(scenes[:1])[0]
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    large = picture[:2] + comment * 96 + picture[2:]
    assert len(large) > 6 * 2**20
    answer = client.embed_product([large, picture])
    assert answer["valid"].all()
    np.testing.assert_allclose(answer["embedding"][0], answer["embedding"][1], atol=1e-6)

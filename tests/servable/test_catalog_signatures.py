"""The catalog in the SavedModel against plain numpy: its search alone, and whole versions through
every way to ask them."""

import csv
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.catalog.catalog import write_catalog
from ctl_keras.servable import catalog_signatures as served_catalog
from ctl_keras.servable.catalog_signatures import CatalogSignatures, quantized, storage_loss
from ctl_keras.serving.server import DevelopmentServer
from tests.conftest import SMALL

CLOTHES = "Apparel & Accessories|Clothing"
SHOES, HATS, PANTS = (
    "Apparel & Accessories|Shoes",
    "Apparel & Accessories|Hats",
    f"{CLOTHES}|Pants",
)
COUNTS = {SHOES: 130, HATS: 7, f"{CLOTHES}|Shirts & Tops": 40}  # no pants
DIM, K = 16, 100


def unit_vectors(count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_catalog(folder, manifest, categories, embeddings=None, name="p"):
    """A catalog of drawn vectors for an export."""
    vectors = unit_vectors(len(categories)) if embeddings is None else embeddings
    ids = [f"{name}{row}-ü" for row in range(len(categories))]
    paths = pa.DictionaryArray.from_arrays(
        pa.array([manifest["categories"].index(category) for category in categories], pa.int32()),
        manifest["categories"],
    )
    columns = {
        "id": pa.array(ids, pa.string()),
        "image": pa.array(ids, pa.string()),
        "category": paths,
    }

    def fill(target):
        target[:] = vectors

    hashes = pa.array(range(len(ids)), pa.int64())
    table = pa.table({**columns, "fingerprint": columns["id"], "picture_hash": hashes})
    return write_catalog(folder, fill, table, vectors.shape[1], manifest["weights_hash"], {})


@pytest.fixture(scope="module")
def drawn_catalog(exported, tmp_path_factory):
    """Of each category in turn, so that the export has to sort."""
    categories = [category for category, count in COUNTS.items() for _ in range(count)]
    order = np.random.default_rng(1).permutation(len(categories))
    manifest = ctl.LocalModel(exported).manifest
    return make_catalog(
        tmp_path_factory.mktemp("drawn") / "catalog", manifest, [categories[row] for row in order]
    )


@pytest.fixture(scope="module")
def version(exported, drawn_catalog, tmp_path_factory):
    """Version 1 of a base of its own, searched in many small blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served_catalog, "_BLOCK", dict.fromkeys(served_catalog._BLOCK, 16))
        to = tmp_path_factory.mktemp("with_catalog") / "looks"
        return ctl.export(exported, to, catalog=drawn_catalog.folder)


@pytest.fixture(scope="module")
def served(version):
    return ctl.LocalModel(version)


def ask(model, signature, **inputs):
    outputs = model.loaded.signatures[signature](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    return {name: value.numpy() for name, value in outputs.items()}


def strings(values):
    return [[value.decode() for value in row] for row in values]


def nearest(model, catalog, scene, category):
    """Ids and distances of a category's products, nearest first: the oracle."""
    query = ask(model, "embed_scene", scene_bytes=[scene], category=[category])["query"][0].astype(
        np.float64
    )
    distances = 2 - np.asarray(catalog.embeddings, np.float64) @ query
    names = zip(
        distances.tolist(), catalog.ids.to_pylist(), catalog.categories.to_pylist(), strict=True
    )
    return sorted((distance, identity) for distance, identity, name in names if name == category)


@pytest.fixture(scope="module")
def pictures(scenes):
    return [path.read_bytes() for path in scenes]


@pytest.fixture(scope="module")
def rows(pictures):
    """Two categories of one scene, its last part, another scene; fewer than K; a bad picture, an
    unknown category, none."""
    scene, other = pictures[:2]
    return {
        "scene_bytes": [scene, scene, scene, other, b"no picture", other, other],
        "category": [SHOES, HATS, "Shoes", HATS, SHOES, "Socks", PANTS],
    }


def test_recommend_is_what_numpy_finds(served, drawn_catalog, rows):
    answer = ask(served, "recommend", **rows)
    ids = strings(answer["product_id"])
    assert answer["product_id"].shape == answer["hybrid_distance"].shape == (7, K)
    assert answer["valid"].tolist() == [True, True, True, True, False, False, True]
    for row, category in enumerate([SHOES, HATS, SHOES, HATS]):
        expected = nearest(served, drawn_catalog, rows["scene_bytes"][row], category)[:K]
        count = len(expected)
        assert count == min(K, COUNTS[category])
        assert ids[row] == [identity for _, identity in expected] + [""] * (K - count)
        np.testing.assert_allclose(
            answer["hybrid_distance"][row, :count],
            [distance for distance, _ in expected],
            atol=1e-5,
        )
        assert (answer["hybrid_distance"][row, count:] == 4).all()
    assert ids[0] == ids[2]
    for row in (4, 5, 6):
        assert ids[row] == [""] * K
        assert (answer["hybrid_distance"][row] == 4).all()


@given(st.data())
def test_what_is_excluded_is_not_recommended(served, drawn_catalog, rows, data):
    """Each row has its own ids to leave out; unknown ones, others' and "" leave out nothing."""
    every = drawn_catalog.ids.to_pylist()
    most = data.draw(st.integers(1, 5))
    names = st.sampled_from([*every[:8], *every[30:40], "unknown", ""])
    exclude = [data.draw(st.lists(names, min_size=most, max_size=most)) for _ in range(7)]
    answer = ask(served, "recommend_excluding", **rows, exclude=exclude)
    ids = strings(answer["product_id"])
    assert answer["valid"].tolist() == [True, True, True, True, False, False, True]
    for row, category in enumerate([SHOES, HATS, SHOES, HATS]):
        found = nearest(served, drawn_catalog, rows["scene_bytes"][row], category)
        left = [(distance, name) for distance, name in found if name not in exclude[row]][:K]
        assert ids[row] == [name for _, name in left] + [""] * (K - len(left))
        distances = answer["hybrid_distance"][row]
        np.testing.assert_allclose(distances[: len(left)], [d for d, _ in left], atol=1e-5)
        assert (distances[len(left) :] == 4).all()
    for row in (4, 5, 6):
        assert ids[row] == [""] * K


def test_rerank_is_what_numpy_finds(served, drawn_catalog, rows, pictures):
    every = drawn_catalog.ids.to_pylist()
    asked = [every[3], "unknown", every[3], "", every[50], "p3"]
    answer = ask(served, "rerank", **rows, product_id=[asked] * 7)
    query = ask(served, "embed_scene", **rows)["query"]
    known = np.array([True, False, True, False, True, False])
    assert (answer["known"] == known).all()
    expected = 2 - query @ np.asarray(drawn_catalog.embeddings[[3, 0, 3, 0, 50, 0]]).T
    valid = np.array([True, True, True, True, False, False, True])
    np.testing.assert_allclose(
        answer["hybrid_distance"], np.where(known & valid[:, None], expected, 4), atol=1e-5
    )
    one = ask(served, "rerank", scene_bytes=pictures[:1], category=["Shoes"], product_id=[every])
    found = ask(served, "recommend", scene_bytes=pictures[:1], category=["Shoes"])
    by_id = dict(zip(every, one["hybrid_distance"][0], strict=True))
    np.testing.assert_allclose(
        found["hybrid_distance"][0],
        [by_id[name] for name in strings(found["product_id"])[0]],
        atol=1e-5,
    )


def test_empty_batches(served):
    empty = tf.zeros([0], tf.string)
    answer = ask(served, "recommend", scene_bytes=empty, category=empty)
    assert {name: value.shape for name, value in answer.items()} == {
        "product_id": (0, K),
        "hybrid_distance": (0, K),
        "valid": (0,),
    }
    answer = ask(
        served, "rerank", scene_bytes=empty, category=empty, product_id=tf.zeros([0, 3], tf.string)
    )
    assert {value.shape for value in answer.values()} == {(0, 3)}


@pytest.fixture(scope="module")
def server(version):
    with DevelopmentServer(version.parent, rest_port=0, grpc_port=0) as server:
        yield server


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_the_client_gets_the_same(server, scheme, served, rows, drawn_catalog):
    address = server.rest_address if scheme == "http" else server.grpc_address
    with ctl.Client(f"{scheme}://{address}", "looks") as client:
        found, expected = client.recommend(*rows.values(), k=9), ask(served, "recommend", **rows)
        assert found["product_id"].tolist() == [row[:9] for row in strings(expected["product_id"])]
        np.testing.assert_allclose(
            found["hybrid_distance"], expected["hybrid_distance"][:, :9], atol=1e-6
        )
        assert found["valid"].tolist() == expected["valid"].tolist()
        asked = [[*drawn_catalog.ids.to_pylist()[:3], "unknown"]] * 7
        found, expected = (
            client.rerank(*rows.values(), asked),
            ask(served, "rerank", **rows, product_id=asked),
        )
        assert found["known"].tolist() == expected["known"].tolist()
        np.testing.assert_allclose(found["hybrid_distance"], expected["hybrid_distance"], atol=1e-6)


def test_manifest_card_and_warmup(version, exported, drawn_catalog):
    manifest = json.loads((version / "manifest.json").read_text())
    plain = ctl.LocalModel(exported).manifest
    assert manifest["catalog"] == {
        "hash": drawn_catalog.manifest["hash"],
        "count": 177,
        "pictures": 177,
        "categories": COUNTS,
        "k": K,
        "vectors": "float32",
        "recall_at_10": 1.0,
        "largest_error": 0.0,
    }
    assert manifest["weights_hash"] == plain["weights_hash"]
    assert {
        name: value for name, value in manifest["signatures"].items() if name in plain["signatures"]
    } == plain["signatures"]
    assert manifest["signatures"]["recommend"]["outputs"]["product_id"] == {
        "shape": [None, K],
        "dtype": "string",
    }
    assert manifest["signatures"]["rerank"]["inputs"]["product_id"] == {
        "shape": [None, None],
        "dtype": "string",
    }
    card = " ".join((version / "MODEL_CARD.md").read_text().split())
    assert "177 products" in card
    assert "nearest 100 of a category. Embeddings are stored as float32." in card
    assert "## Catalog" not in (exported / "1" / "MODEL_CARD.md").read_text()

    from tensorflow_serving.apis import prediction_log_pb2

    raw = tf.data.TFRecordDataset(
        str(version / "assets.extra" / "tf_serving_warmup_requests")
    ).as_numpy_iterator()
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in raw
    ]
    assert {request.model_spec.signature_name for request in requests} == set(
        manifest["signatures"]
    )


def test_a_refreshed_catalog_leaves_the_model_alone(version, served, rows, pictures, tmp_path):
    """The second of two refreshes; each takes the place of the catalog before."""
    renewed = make_catalog(
        tmp_path / "new", served.manifest, [HATS] * 30, unit_vectors(30, seed=2), name="new"
    )
    once = ctl.export(version, tmp_path / "looks", catalog=renewed.folder, vectors="int8")
    folder = ctl.export(once, tmp_path / "looks", catalog=renewed.folder, vectors="int8")
    assert folder == tmp_path / "looks" / "2"
    for name in ("variables/variables.data-00000-of-00001", "saved_model.pb"):
        sizes = [(path / name).stat().st_size for path in (version, once, folder)]
        assert sizes[1] < sizes[0] * 1.03
        assert sizes[2] < sizes[1] + 2000  # neither vectors nor layers of wrappers pile up
    model = ctl.LocalModel(folder)
    assert model.manifest["weights_hash"] == served.manifest["weights_hash"]
    assert model.manifest["golden"] == served.manifest["golden"]
    old, new = (
        {str(w.name): w.numpy() for w in each.loaded.model.weights} for each in (served, model)
    )
    assert old.keys() == new.keys()
    assert all((old[name] == new[name]).all() for name in old)
    for name in ("embed_scene", "serving_default"):
        inputs = rows if name == "embed_scene" else {**rows, "product_bytes": [pictures[2]] * 7}
        before, after = (ask(each, name, **inputs) for each in (served, model))
        for output in before:
            np.testing.assert_allclose(before[output], after[output], atol=1e-6)

    assert model.manifest["catalog"]["k"] == 30
    answer = ask(model, "recommend", **rows)
    expected = nearest(model, renewed, pictures[0], HATS)
    kept = {identity: distance for distance, identity in expected}
    ids = strings(answer["product_id"])[1]
    assert sorted(ids) == sorted(kept)
    errors = np.abs(answer["hybrid_distance"][1] - [kept[name] for name in ids])
    assert 0 < errors.max() < 0.03
    assert ask(model, "rerank", **rows, product_id=[["p3-ü", "new3-ü"]] * 7)["known"][
        0
    ].tolist() == [False, True]


ELSEWHERE = """
import sys
import numpy as np, tensorflow as tf
folder, arrays = sys.argv[1:]
stored = np.load(arrays, allow_pickle=False)
scenes = [bytes(row) for row in np.split(stored["scenes"], np.cumsum(stored["sizes"])[:-1])]
ids = [name.encode() for name in stored["ids"]]
feed = {"recommend": {"scene_bytes": scenes, "category": list(stored["category"])}}
feed["rerank"] = {**feed["recommend"], "product_id": [ids] * len(scenes)}
loaded = tf.saved_model.load(folder).signatures
answers = {}
for name, inputs in feed.items():
    answer = loaded[name](**{key: tf.constant(value) for key, value in inputs.items()})
    answers[name] = [{key: value.numpy() for key, value in answer.items()}]
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    for name, inputs in feed.items():
        signature = graph.signature_def[name]
        wanted = {key: value.name for key, value in signature.outputs.items()}
        given = {signature.inputs[key].name: value for key, value in inputs.items()}
        answers[name].append(session.run(wanted, given))
for answer in answers["recommend"]:
    ids = [[name.decode() for name in row] for row in answer["product_id"]]
    assert ids == stored["product_id"].tolist()
for name in feed:
    for answer in answers[name]:
        assert np.abs(answer["hybrid_distance"] - stored[name]).max() < 1e-4
assert not any(name.startswith("ctl_keras") for name in sys.modules), "the package was imported"
"""


def test_answers_the_same_elsewhere(version, served, rows, drawn_catalog, tmp_path):
    """In a process without the package, and in a TF1 session; on the other stack where
    `CTL_OTHER_PYTHON` names one."""
    ids = drawn_catalog.ids.to_pylist()[:5]
    expected = {"recommend": ask(served, "recommend", **rows)}
    expected["rerank"] = ask(served, "rerank", **rows, product_id=[ids] * 7)
    np.savez(
        tmp_path / "rows.npz",
        scenes=np.frombuffer(b"".join(rows["scene_bytes"]), np.uint8),
        sizes=[len(scene) for scene in rows["scene_bytes"]],
        category=np.array(rows["category"]),
        ids=np.array(ids),
        product_id=np.array(strings(expected["recommend"]["product_id"])),
        **{name: answer["hybrid_distance"] for name, answer in expected.items()},
    )
    command = [
        os.environ.get("CTL_OTHER_PYTHON") or sys.executable,
        "-c",
        ELSEWHERE,
        str(version),
        str(tmp_path / "rows.npz"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_only_stock_ops_and_no_large_constant(version):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = (
        saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
        .meta_graphs[0]
        .graph_def
    )
    nodes = [
        *graph.node,
        *(node for function in graph.library.function for node in function.node_def),
    ]
    assert not [node.op for node in nodes if "PyFunc" in node.op or "Xla" in node.op]
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    assert not any("p3-ü".encode() in constant.SerializeToString() for constant in constants)
    # the vectors have 11 kB; the strings are names of variables
    assert (
        max(
            constant.ByteSize()
            for constant in constants
            if constant.dtype != tf.string.as_datatype_enum
        )
        < 4096
    )


@pytest.mark.parametrize("changed", [{"squared": False}, {"attention": "product"}])
def test_without_inner_product_candidates_are_ranked_by_the_model(
    changed, drawn_pairs, records, scenes, pictures, tmp_path, monkeypatch
):
    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL, **changed)
    plain = ctl.LocalModel(ctl.export(model, tmp_path / "looks"))
    with open(records / "products.csv", newline="") as file:
        products = [
            (records / row["image"]).read_bytes()
            for row in csv.DictReader(file)
            if row["category"] == SHOES
        ][:12]
    embeddings = plain.embed_product(products)["embedding"]
    catalog = make_catalog(tmp_path / "catalog", plain.manifest, [SHOES] * 12, embeddings)
    monkeypatch.setattr(served_catalog, "MOST", 3)
    served = ctl.LocalModel(ctl.export(plain.folder, tmp_path / "looks", catalog=catalog.folder))
    pairs = {
        "scene_bytes": pictures[:1] * 12,
        "product_bytes": products,
        "category": ["Shoes"] * 12,
    }
    distances = ask(plain, "serving_default", **pairs)["hybrid_distance"]

    found = ask(
        served, "recommend", scene_bytes=[*pictures[:1], b"bad"], category=["Shoes", "Shoes"]
    )
    order = np.argsort(distances, kind="stable")[:3]  # all 12 are candidates
    np.testing.assert_allclose(
        found["hybrid_distance"],
        [distances[order], [2 if "squared" in changed else 4] * 3],
        atol=1e-5,
    )
    np.testing.assert_array_equal(
        strings(found["product_id"]), [[f"p{row}-ü" for row in order], [""] * 3]
    )
    ids = [*catalog.ids.to_pylist(), "unknown"]
    answer = ask(served, "rerank", scene_bytes=pictures[:1], category=["Shoes"], product_id=[ids])
    np.testing.assert_allclose(answer["hybrid_distance"][0, :-1], distances, atol=1e-5)
    assert answer["known"][0].tolist() == [True] * 12 + [False]
    np.testing.assert_allclose(
        served.distances(scenes[0], "Shoes", embeddings), distances, atol=1e-5
    )
    assert served.manifest["query_is_exact"] is False
    assert "ranked by the distance" in (served.folder / "MODEL_CARD.md").read_text()


def test_from_a_run_in_one_go(run, exported, drawn_catalog, pictures, tmp_path):
    how = {"version": 7, "vectors": "int8", "optimize": True}
    folder = ctl.export(run, tmp_path / "looks", catalog=drawn_catalog.folder, **how)
    assert [path.name for path in (tmp_path / "looks").iterdir()] == ["7"]
    served = ctl.LocalModel(folder)
    assert (served.manifest["optimized"], served.manifest["catalog"]["vectors"]) == (True, "int8")
    assert served.manifest["weights_hash"] == ctl.LocalModel(exported).manifest["weights_hash"]
    answer = ask(served, "recommend", scene_bytes=pictures[:1], category=["Hats"])
    expected = nearest(served, drawn_catalog, pictures[0], HATS)
    np.testing.assert_allclose(
        answer["hybrid_distance"][0, :7], [distance for distance, _ in expected], atol=0.03
    )


def test_errors(exported, drawn_catalog, run, tmp_path, monkeypatch):
    manifest, to = ctl.LocalModel(exported).manifest, tmp_path / "looks"
    other = make_catalog(tmp_path / "other", {**manifest, "weights_hash": "0" * 64}, [SHOES])
    with pytest.raises(
        ctl.InputError,
        match=r"The catalog .*other was embedded by another model \(000000000000\) than ",
    ):
        ctl.export(exported, to, catalog=other.folder)
    nothing = make_catalog(tmp_path / "nothing", manifest, [])
    with pytest.raises(ctl.InputError, match=r"The catalog .*nothing has no products"):
        ctl.export(exported, to, catalog=nothing.folder)
    with pytest.raises(
        ctl.InputError, match="`vectors` must be one of float32, bfloat16, int8. Received: 'int4'"
    ):
        ctl.export(exported, to, catalog=drawn_catalog.folder, vectors="int4")
    with pytest.raises(ctl.InputError, match="already exists"):
        ctl.export(exported, exported, catalog=drawn_catalog.folder, version=1)
    with pytest.raises(ctl.InputError, match="holds no catalog"):
        ctl.export(exported, to, catalog=tmp_path / "none")
    for wrong in ({}, {"catalog": drawn_catalog.folder, "optimize": True}):
        with pytest.raises(ctl.InputError, match="all that can be changed of it is its catalog"):
            ctl.export(exported, to, **wrong)
    with pytest.raises(ctl.InputError, match="holds no trained model. Make one with `train`"):
        ctl.export(tmp_path, to)
    monkeypatch.setattr(served_catalog, "_BUCKETS", 8)
    with pytest.raises(ctl.InputError, match=r"The ids 'p\d+-ü' and 'p\d+-ü' have the same hash"):
        ctl.export(exported, to, catalog=drawn_catalog.folder)
    assert not to.exists() or list(to.iterdir()) == []


class Searched:
    """A catalog of whole numbers, of which products of float32 are exact, so that ties are, too.
    Each third of the 64 pictures has two products."""

    def __init__(self, vectors, exact):
        random = np.random.default_rng(0)
        self.category = np.repeat([0, 2, 3], [40, 3, 21])
        self.embeddings = random.integers(-3, 4, (64, 8)).astype(np.float32)
        self.embeddings[:, 0] = 127  # so that int8 stores them as they are
        manifest = {
            "query_is_exact": exact,
            "settings": {"dim": 8, "squared": True},
            "categories": ["a", "b", "c", "d"],
        }
        scene = {
            "query": tf.zeros([1, 8]),
            "category_index": tf.zeros([1], tf.int32),
            "valid": tf.ones([1], tf.bool),
        }
        model = SimpleNamespace(
            describe_scene=lambda *_: scene, distances=lambda _, products: products[..., 0]
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(served_catalog, "MOST", 5)
            patch.setattr(served_catalog, "_BLOCK", dict.fromkeys(served_catalog._BLOCK, 16))
            pictures = np.sort([*range(64), *range(0, 64, 3)])
            ids = np.array([f"id{row}" for row in range(len(pictures))], object)
            products = self.embeddings[pictures], ids, self.category[pictures], pictures
            self.served = CatalogSignatures(model, manifest, *products, vectors)
        self.wanted = 5 if exact else 20

    def expected(self, query, category):
        rows = np.flatnonzero(self.category == category)
        products = self.embeddings[rows] @ query
        order = np.argsort(-products, kind="stable")[: self.wanted]
        missing = self.wanted - len(order)
        return [*rows[order], *[-1] * missing], [
            *products[order],
            *[served_catalog._NOTHING] * missing,
        ]


SEARCHED = {
    (vectors, exact): Searched(vectors, exact)
    for vectors in served_catalog.VECTORS
    for exact in (True, False)
}
queries = st.lists(
    st.tuples(st.lists(st.integers(-2, 2), min_size=8, max_size=8), st.integers(-1, 3)), max_size=6
)


@given(queries, st.sampled_from(sorted(SEARCHED)))
def test_search_equals_sorting(asked, which):
    searched = SEARCHED[which]
    query = np.array([vector for vector, _ in asked], np.float32).reshape(-1, 8)
    rows, products = searched.served.search(
        query, np.array([category for _, category in asked], np.int32)
    )
    assert rows.shape == products.shape == (len(asked), searched.wanted)
    for row, (vector, category) in enumerate(asked):
        expected = searched.expected(np.array(vector, np.float32), category)
        assert rows[row].numpy().tolist() == expected[0]
        assert products[row].numpy().tolist() == expected[1]


def test_what_fewer_bits_cost():
    embeddings = unit_vectors(500)
    for vectors, most in (("float32", 0), ("bfloat16", 2**-8), ("int8", 1 / 254)):
        values, scale = quantized(embeddings, vectors)
        back = tf.cast(values, tf.float32).numpy() * (1 if scale is None else scale[:, None])
        largest = np.abs(embeddings).max(axis=1, keepdims=True)
        assert (np.abs(back - embeddings) <= most * largest * 1.001).all()
        cost = storage_loss(embeddings, vectors)
        assert cost["recall_at_10"] == 1 if vectors == "float32" else 0.9 < cost["recall_at_10"] < 1
        assert (cost["largest_error"] > 0) == (vectors != "float32")
        assert cost["largest_error"] < 0.02
    assert quantized(np.zeros((2, 4), np.float32), "int8")[0].tolist() == [[0] * 4] * 2
    assert storage_loss(embeddings[:3], "int8")["recall_at_10"] == 1

"""Every index against one oracle: plain numpy over a dict of products."""

import sys

import numpy as np
import pyarrow as pa
import pytest

import ctl_keras as ctl
from ctl_keras.retrieval import exact_scan
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.faiss_index import FaissIndex
from ctl_keras.retrieval.milvus_index import MilvusIndex

DIM = 8
CATEGORIES = ("Hats", "Shoes", "Bags")


def vectors(count, seed=0):
    values = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def products(count, seed=0):
    return (
        vectors(count, seed),
        [f"p{n}" for n in range(count)],
        [CATEGORIES[n % 3] for n in range(count)],
    )


@pytest.fixture(params=["exact", "flat", "hnsw", "milvus"])
def make(request, tmp_path_factory):
    """Makes an empty index that finds all there is, at these sizes."""

    def build():
        if request.param == "exact":
            return ExactIndex()
        if request.param == "milvus":
            pytest.importorskip("milvus_lite")
            return MilvusIndex(str(tmp_path_factory.mktemp("milvus") / "products.db"))
        pytest.importorskip("faiss")
        return FaissIndex(request.param, effort=400)

    return build


def oracle(table, query, k, category=None, allowed=lambda identity: True):
    """Ids and distances by plain numpy over `{id: (vector, category)}`."""
    rows = [
        (2 - float(np.dot(vector.astype(np.float64), query)), identity)
        for identity, (vector, name) in table.items()
        if allowed(identity) and category in (None, name)
    ]
    return sorted(rows)[:k]


def assert_finds(found, row, expected):
    count = len(expected)
    assert found.found[row] == count
    np.testing.assert_allclose(
        found.distances[row, :count], [distance for distance, _ in expected], atol=1e-5
    )
    assert found.ids[row, :count].tolist() == [identity for _, identity in expected]
    assert found.ids[row, count:].tolist() == [""] * (found.ids.shape[1] - count)
    assert np.isinf(found.distances[row, count:]).all()
    assert (found.rows[row, count:] == -1).all()
    assert (found.rows[row, :count] >= 0).all()


def test_search(make):
    embeddings, ids, categories = products(300)
    index = make().build(embeddings, ids, categories)
    table = {
        identity: (vector, name)
        for identity, vector, name in zip(ids, embeddings, categories, strict=True)
    }
    queries = vectors(4, 1)
    found = index.search(queries, 7)
    assert (found.ids.dtype, found.distances.dtype, found.rows.dtype) == (
        object,
        np.float32,
        np.int64,
    )
    for row, query in enumerate(queries):
        assert_finds(found, row, oracle(table, query, 7))
        assert [ids[place] for place in found.rows[row]] == found.ids[row].tolist()
    assert_finds(index.search(queries[0], 7), 0, oracle(table, queries[0], 7))
    # more than a category has
    found = index.search(queries, 200, ["Shoes", "Hats", "Shoes", "Bags"])
    for row, name in enumerate(["Shoes", "Hats", "Shoes", "Bags"]):
        assert_finds(found, row, oracle(table, queries[row], 200, name))
    some = {f"p{n}" for n in range(0, 300, 7)}
    found = index.search(queries, 5, "Shoes", include=sorted(some), exclude=["p7"])
    for row, query in enumerate(queries):
        assert_finds(
            found, row, oracle(table, query, 5, "Shoes", lambda identity: identity in some - {"p7"})
        )
    mask = np.arange(300) % 2 == 0
    found = index.search(queries, 5, include=mask, exclude=np.arange(300) > 280)
    for row, query in enumerate(queries):
        assert_finds(
            found,
            row,
            oracle(table, query, 5, None, lambda identity: int(identity[1:]) in range(0, 281, 2)),
        )
    assert index.search(queries, 3, "Shoes", include=["p0"]).found.tolist() == [0] * 4


def test_save_and_load(make, tmp_path):
    for count in (50, 49):
        index = make().build(*products(count))
        index.save(tmp_path / "index")
        loaded = type(index).load(tmp_path / "index")
        assert (len(loaded), loaded.is_exact) == (count, index.is_exact)
        for category in (None, "Bags"):
            np.testing.assert_array_equal(
                loaded.search(vectors(3, 9), 60, category).ids,
                index.search(vectors(3, 9), 60, category).ids,
            )
    with pytest.raises(
        ctl.InputError, match="No product has the category 'Scarves'. There are: Hats, Shoes, Bags"
    ):
        loaded.search(vectors(1), 1, "Scarves")


def test_empty(make):
    index = make().build(np.zeros((0, DIM), np.float32), [], [])
    assert (len(index), index.search(vectors(2), 3).found.tolist()) == (0, [0, 0])


def test_wrong_input(make):
    index = make()
    with pytest.raises(ctl.InputError, match="The index holds nothing yet: call `build` first."):
        index.search(vectors(1), 1)
    embeddings, ids, categories = products(5)
    bad = embeddings.copy()
    bad[2, 1], bad[3, 0] = np.nan, np.inf
    with pytest.raises(ctl.InputError, match="The vector of the product 'p2' is not finite."):
        index.build(bad, ids, categories)
    with pytest.raises(ctl.InputError, match=r"The id 'p0' occurs more than once \(1 such\)."):
        index.build(embeddings, ["p0", "p0", "p2", "p3", "p4"], categories)
    with pytest.raises(ctl.InputError, match=r"must be as many. Received: \[5, 8\], 4 and 5"):
        index.build(embeddings, ids[:4], categories)
    with pytest.raises(ctl.InputError, match="`ids` must be strings. Received: none in 1 rows"):
        index.build(embeddings, [*ids[:4], None], categories)
    with pytest.raises(ctl.InputError, match=r"`categories` must be strings. Received: \[1, 2"):
        index.build(embeddings, ids, [1, 2, 3, 4, 5])
    index.build(embeddings, pa.array(ids), pa.array(categories).dictionary_encode())
    assert len(index) == 5
    for arguments, message in (
        ({"k": 0}, "`k` must be positive. Received: 0"),
        ({"query": np.zeros((2, 3))}, r"`query` must be \[queries, 8\]. Received: \[2, 3\]"),
        ({"query": bad[:3]}, "`query` must be finite. Row 2 is not."),
        ({"category": "Shoe"}, "No product has the category 'Shoe'. Did you mean 'Shoes'?"),
        (
            {"category": ["Hats", "Hats"]},
            "`category` must be one for all queries or one for each. Received: 2 for 1",
        ),
        ({"include": ["p1", "x", "y"]}, r"`include`: no product has the id 'x' \(nor 1 more"),
        ({"exclude": ["x"]}, "`exclude`: no product has the id 'x'"),
        ({"exclude": "p1"}, "`exclude` must be a list of ids. Received: 'p1'"),
        (
            {"include": np.ones(3, bool)},
            r"`include` must be \[5\], one for each row. Received: \[3\]",
        ),
    ):
        with pytest.raises(ctl.InputError, match=message):
            index.search(**{"query": vectors(1), "k": 1, **arguments})


def test_what_is_no_index(tmp_path):
    with pytest.raises(ctl.InputError, match="holds no index. `save` writes one."):
        ExactIndex.load(tmp_path)
    ExactIndex().build(*products(2)).save(tmp_path / "index")
    with pytest.raises(
        ctl.InputError,
        match="holds an index of the kind exact, format 2; FaissIndex reads faiss, format 2.",
    ):
        FaissIndex.load(tmp_path / "index")


def test_extras_that_are_not_installed(monkeypatch, tmp_path):
    for module in ("faiss", "pymilvus"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ctl.InputError,
        match=r"FAISS is not installed. Install it with: pip install ctl-keras\[faiss\]",
    ):
        FaissIndex()
    with pytest.raises(
        ctl.InputError,
        match=r"pymilvus is not installed. Install it with: pip install ctl-keras\[milvus\]",
    ):
        MilvusIndex(str(tmp_path / "m.db"))


def test_cells_and_product_quantisation(tmp_path):
    pytest.importorskip("faiss")
    embeddings, ids, categories = products(3000)
    index = FaissIndex("ivfpq", effort=50).build(embeddings, ids, categories)
    exact = ExactIndex().build(embeddings, ids, categories)
    queries = embeddings[:50]
    kept = [
        len(set(a) & set(b))
        for a, b in zip(index.search(queries, 10).ids, exact.search(queries, 10).ids, strict=True)
    ]
    assert np.mean(kept) > 5
    assert not index.is_exact
    found = index.search(queries, 10, "Shoes", include=ids[:60], exclude=ids[:30])
    assert (found.found == 10).all()  # there are ten, in cells that a search would not see
    assert {identity for row in found.ids for identity in row} == {
        f"p{n}" for n in range(31, 60, 3)
    }
    index.save(tmp_path / "index")
    np.testing.assert_array_equal(
        FaissIndex.load(tmp_path / "index").search(queries, 10).ids, index.search(queries, 10).ids
    )
    with pytest.raises(
        ctl.InputError,
        match="`ivfpq` learns from at least 1024 products; take `flat`. Received: 300",
    ):
        FaissIndex("ivfpq").build(*products(300))
    with pytest.raises(
        ctl.InputError, match="`method` must be one of flat, hnsw, ivfpq. Received: tree"
    ):
        FaissIndex("tree")


@pytest.mark.parametrize("block", [7, 64, 1000])
@pytest.mark.parametrize("k", [1, 10, 300, 400])
def test_blocks_do_not_matter(monkeypatch, tmp_path, block, k):
    """Ties, which few different values make, are ordered as the products are; vectors on disk are
    not copied."""
    monkeypatch.setattr(exact_scan, "_ROWS", block)
    monkeypatch.setattr(exact_scan, "_ONE_THREAD", 4 * DIM * 5)  # tiles of 4 rows, for 5 queries
    values = np.random.default_rng(block).integers(-1, 2, (300, DIM)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    index = ExactIndex().build(mapped, [f"p{n}" for n in range(300)], ["any"] * 300)
    assert index._vectors is mapped
    queries = np.random.default_rng(1).integers(-1, 2, (5, DIM)).astype(np.float32)
    for allowed in (
        np.ones(300, bool),
        np.arange(300) % 2 == 0,
        np.arange(300) % 20 == 3,
        np.arange(300) > 250,
    ):
        for asked in (queries, queries[:1]):
            found = index.search(asked, k, include=allowed)
            for row, query in enumerate(asked):
                products = values @ query
                order = [place for place in np.argsort(-products, kind="stable") if allowed[place]][
                    :k
                ]
                assert found.rows[row, : len(order)].tolist() == order
                np.testing.assert_array_equal(
                    found.distances[row, : len(order)], 2 - products[order]
                )


def test_a_milvus_that_cannot_be_opened(tmp_path):
    pytest.importorskip("milvus_lite")
    (tmp_path / "file").touch()
    with pytest.raises(
        ctl.InputError,
        match="Milvus at .*file/m.db cannot be opened: .* A file is open in one process",
    ):
        MilvusIndex(str(tmp_path / "file" / "m.db"))


def test_milvus_returns_no_more_than_it_can(tmp_path):
    pytest.importorskip("milvus_lite")
    index = MilvusIndex(str(tmp_path / "m.db")).build(*products(3))
    with pytest.raises(
        ctl.InputError, match="Milvus returns at most 16384 products. Received: k=20000"
    ):
        index.search(vectors(1), 20000)
    index.save(tmp_path / "index")
    index._client.drop_collection("ctl_products")
    with pytest.raises(
        ctl.InputError, match="has no collection ctl_products. Build the index anew."
    ):
        MilvusIndex.load(tmp_path / "index")

"""A graph and cells with filters: where few products pass, as many are found as without a
filter."""

import numpy as np
import pytest

from ctl_keras.retrieval import faiss_index
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.faiss_index import FaissIndex

pytest.importorskip("faiss")

COUNT, DIM = 6000, 16


@pytest.fixture(scope="module")
def catalog():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((40, DIM))[
        random.integers(40, size=COUNT)
    ] + 0.5 * random.standard_normal((COUNT, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors, [f"p{n}" for n in range(COUNT)], [f"c{n % 3}" for n in range(COUNT)]


@pytest.fixture(scope="module", params=["hnsw", "ivfpq"])
def index(request, catalog):
    return FaissIndex(request.param).build(*catalog)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02, 0.002])
def test_filters_do_not_cost_recall(monkeypatch, index, catalog, share):
    # or all that pass would be looked at, in a catalog as small as this
    monkeypatch.setattr(faiss_index, "_GRAPH_COST", 0.1)
    allowed = np.random.default_rng(1).random(COUNT) < share
    queries = catalog[0][:40]
    wanted = ExactIndex().build(*catalog).search(queries, 10, include=allowed)
    found = index.search(queries, 10, include=allowed)
    np.testing.assert_array_equal(found.found, wanted.found)
    assert allowed[found.rows[found.rows >= 0]].all()
    common = (
        sum(len(set(a) & set(b) - {""}) for a, b in zip(found.ids, wanted.ids, strict=True))
        / wanted.found.sum()
    )
    assert common > {"hnsw": 0.95, "ivfpq": 0.5}[index.method]
    assert (np.diff(np.where(found.rows < 0, 9, found.distances)) >= 0).all()


def test_few_products_are_all_looked_at(catalog):
    """The graph's own vectors, exactly."""
    index = FaissIndex("hnsw", effort=1).build(*catalog)
    allowed = np.arange(COUNT) % 100 < 2
    wanted = ExactIndex().build(*catalog).search(catalog[0][:8], 20, "c1", include=allowed)
    found = index.search(catalog[0][:8], 20, "c1", include=allowed)
    np.testing.assert_array_equal(found.rows, wanted.rows)
    np.testing.assert_allclose(found.distances, wanted.distances, atol=1e-6)


def test_how_much_is_looked_at(monkeypatch, catalog):
    """n times the effort where one of n passes; all that pass where that is faster."""
    index, efforts = FaissIndex("hnsw", effort=8).build(*catalog), []
    look = index._look
    monkeypatch.setattr(
        index, "_look", lambda *arguments: efforts.append(arguments[-1]) or look(*arguments)
    )
    every = np.ones(COUNT, bool)
    for step in (1, 2, 100):
        index.search(catalog[0][:2], 5, include=every & (np.arange(COUNT) % step == 0))
    assert efforts == [8, 16]


def test_what_the_graph_misses_is_found(monkeypatch, catalog):
    monkeypatch.setattr(faiss_index, "_GRAPH_COST", 0)
    index, missed = FaissIndex("hnsw", effort=1).build(*catalog), []
    whole = index._all
    monkeypatch.setattr(
        index, "_all", lambda queries, *rest: missed.append(len(queries)) or whole(queries, *rest)
    )
    allowed = np.arange(COUNT) % 50 == 0
    found = index.search(catalog[0][:20], 70, include=allowed)
    assert missed
    np.testing.assert_array_equal(
        found.rows, ExactIndex().build(*catalog).search(catalog[0][:20], 70, include=allowed).rows
    )

"""Exact search: blocks, tiles and threads change nothing of the answer."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl_keras.retrieval import exact_scan
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.exact_scan import scan


def whole_numbers(random, shape):
    """Products of these are exact, and many are equal."""
    return random.integers(-2, 3, shape).astype(np.float32)


def expected(vectors, query, k, allowed):
    products = vectors @ query
    rows = [row for row in np.argsort(-products, kind="stable") if allowed[row]][:k]
    return rows, products[rows]


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 300),
    dim=st.integers(1, 9),
    queries=st.integers(1, 12),
    k=st.integers(1, 310),
    share=st.sampled_from([0.0, 0.02, 0.2, 0.9, 1.0]),
    sizes=st.fixed_dictionaries(
        {
            "_ROWS": st.integers(1, 90),
            "_ONE_THREAD": st.integers(1, 400),
            "_QUERIES": st.integers(1, 60),
        }
    ),
    threads=st.integers(1, 4),
)
def test_scan(seed, rows, dim, queries, k, share, sizes, threads):
    random = np.random.default_rng(seed)
    vectors, asked = whole_numbers(random, (rows, dim)), whole_numbers(random, (queries, dim))
    allowed = random.random(rows) < share
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sizes.items():
            patch.setattr(exact_scan, name, value)
        patch.setattr(exact_scan, "_cores", lambda: threads)
        answers = scan(vectors, asked, k, allowed)
    assert len(answers) == queries
    for query, (found, products) in zip(asked, answers, strict=True):
        wanted, values = expected(vectors, query, k, allowed)
        assert found.tolist() == wanted
        assert products.tolist() == values.tolist()
        assert (found.dtype, products.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("queries", [1, 2, 5, 64, 130])
def test_sizes_as_they_are(queries):
    random = np.random.default_rng(queries)
    vectors, asked = (
        random.standard_normal((count, 128)).astype(np.float32) for count in (40_000, queries)
    )
    allowed = random.random(len(vectors)) < 0.5
    for query, (found, products) in zip(asked, scan(vectors, asked, 10, allowed), strict=True):
        wanted, values = expected(vectors, query, 10, allowed)
        assert found.tolist() == wanted
        np.testing.assert_allclose(products, values, atol=1e-4)


def test_columns_of_any_arrow_type():
    vectors = whole_numbers(np.random.default_rng(0), (4, 3))
    ids = pa.chunked_array(
        [pa.array(["a", "b"], pa.large_string()), pa.array(["c", "d"], pa.large_string())]
    )
    chunks = [
        pa.array(names).dictionary_encode() for names in (["Hats", "Shoes"], ["Shoes", "Bags"])
    ]
    index = ExactIndex().build(vectors, ids, pa.chunked_array(chunks))
    found = [
        set(index.search(vectors[0], 4, category).ids[0]) - {""}
        for category in ("Hats", "Shoes", "Bags")
    ]
    assert found == [{"a"}, {"b", "c"}, {"d"}]

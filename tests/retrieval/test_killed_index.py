"""A process that is killed at any point while it saves leaves the state before or the one after."""

import multiprocessing
import time

import numpy as np
import pyarrow as pa
import pytest

from ctl_keras.catalog.catalog import Catalog, write_catalog
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.faiss_index import FaissIndex
from tests.counts import KILLS

COUNT, STEP, DIM = 1000, 100, 32


def vector(numbers):
    """What each product's vector is."""
    return np.sin(np.outer(np.asarray(numbers) + 1, np.arange(1, DIM + 1))).astype(np.float32)


def write(folder, first):
    """A catalog of the products from `first` on."""
    numbers = range(first, first + COUNT)
    ids = [f"p{number}" for number in numbers]
    category = pa.array(["any"] * COUNT).dictionary_encode()
    table = pa.table(
        {
            "id": ids,
            "image": ids,
            "category": category,
            "fingerprint": ids,
            "picture_hash": np.arange(len(ids)),
        }
    )

    def fill(target):
        target[:] = vector(numbers)

    write_catalog(folder, fill, table, DIM, "hash", {})


def built(index, first):
    """An index of the same products."""
    numbers = range(first, first + COUNT)
    return index.build(vector(numbers), [f"p{number}" for number in numbers], ["any"] * COUNT)


def change(kind, folder, started):
    """Moves a window of products on and on, from where the last process was killed."""
    first, index = look(kind, folder)
    started.set()
    while True:
        if kind == "catalog":
            write(folder, first + STEP)
        else:
            built(index, first + STEP).save(folder)
        first += STEP


def look(kind, folder):
    """The first product of a window that is whole, with the right vectors, and the index."""
    if kind == "catalog":
        catalog = Catalog(folder)
        numbers = [int(identity[1:]) for identity in catalog.ids.to_pylist()]
        np.testing.assert_array_equal(catalog.embeddings, vector(numbers))
        index = None
    else:
        index = (ExactIndex if kind == "exact" else FaissIndex).load(folder)
        assert len(index) == COUNT
        found = index.search(vector([0]), COUNT)
        assert found.found[0] == COUNT
        numbers = [int(identity[1:]) for identity in found.ids[0]]
        np.testing.assert_allclose(
            found.distances[0], 2 - vector(numbers) @ vector([0])[0], atol=1e-4
        )
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + COUNT))
    assert min(numbers) % STEP == 0
    return min(numbers), index


@pytest.mark.parametrize("kind", ["catalog", "exact", "flat"])
def test_what_a_killed_process_leaves(kind, tmp_path):
    if kind == "flat":
        pytest.importorskip("faiss")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.retrieval.test_killed_index"])
    random = np.random.default_rng(0)
    folder = tmp_path / "stored"
    if kind == "catalog":
        write(folder, 0)
    else:
        index = ExactIndex() if kind == "exact" else FaissIndex(kind)
        built(index, 0).save(folder)
    reached, unfinished = 0, 0
    for _ in range(max(KILLS, 15)):  # each takes a tenth of a second
        started = context.Event()
        process = context.Process(target=change, args=(kind, folder, started))
        process.start()
        assert started.wait(60)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.join()
        unfinished += any(path.name.startswith(".tmp-") for path in folder.iterdir())
        first, _ = look(kind, folder)
        assert first >= reached
        reached = first
    assert reached > 0, "nothing was ever saved"
    assert unfinished > 0, "no save was killed half-way"

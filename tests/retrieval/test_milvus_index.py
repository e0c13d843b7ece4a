"""What the database holds, and what it is asked."""

import numpy as np
import pytest

from ctl_keras.retrieval.milvus_index import MilvusIndex

pytest.importorskip("milvus_lite")

VECTORS = np.eye(8, dtype=np.float32)
IDS, CATEGORIES = [f"p{n}" for n in range(8)], ["Hats", "Shoes"] * 4


def stored(index):
    """Rows in the database."""
    answer = index._client.query(
        index.collection, filter="row >= 0", output_fields=["row"], limit=100
    )
    return sorted(entry["row"] for entry in answer)


def test_what_was_removed_is_deleted_by_save(tmp_path):
    index = MilvusIndex(str(tmp_path / "products.db")).build(VECTORS, IDS, CATEGORIES)
    index.save(tmp_path / "index")
    index.remove(["p1", "p5"])
    assert stored(index) == list(range(8))  # the saved index needs them
    assert index.search(VECTORS[1], 8).found == [6]
    index.save(tmp_path / "index")
    assert stored(index) == [0, 2, 3, 4, 6, 7]
    index.add(VECTORS[:1], ["p1"], ["Bags"])
    assert index.search(VECTORS[0], 2).ids.tolist() in ([["p0", "p1"]], [["p1", "p0"]])
    loaded = MilvusIndex.load(tmp_path / "index")
    assert stored(loaded) == [0, 2, 3, 4, 6, 7]  # p1 came after `save`
    loaded.remove(["p0"])
    assert loaded.search(VECTORS[0], 8, "Hats").found == [3]


def test_killed_between_save_and_delete(tmp_path, monkeypatch):
    index = MilvusIndex(str(tmp_path / "products.db")).build(VECTORS, IDS, CATEGORIES)
    index.remove(["p3"])
    monkeypatch.setattr(index, "_saved", lambda: None)
    index.save(tmp_path / "index")
    assert stored(index) == list(range(8))
    loaded = MilvusIndex.load(tmp_path / "index")
    assert stored(loaded) == [0, 1, 2, 4, 5, 6, 7]
    assert loaded.search(VECTORS[3], 8).found == [7]


def test_a_server_that_is_not_there():
    with pytest.raises(ValueError, match=r"Milvus at http://127.0.0.1:1 cannot be opened"):
        MilvusIndex("http://127.0.0.1:1")


def test_one_row_passes_a_filter(tmp_path):
    index = MilvusIndex(str(tmp_path / "products.db")).build(VECTORS, IDS, CATEGORIES)
    assert index.is_exact
    asked = np.asarray([VECTORS[0], VECTORS[1]])
    found = index.search(asked, 3, ["Hats", "Shoes"], include=["p6", "p7"])
    assert found.ids.tolist() == [["p6", "", ""], ["p7", "", ""]]
    found = index.search(asked, 8, exclude=np.arange(8) < 7)
    assert found.ids[:, 0].tolist() == ["p7", "p7"]
    assert found.found.tolist() == [1, 1]

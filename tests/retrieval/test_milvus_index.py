"""What the database holds, and what it is asked."""

import numpy as np
import pytest

from ctl_keras.retrieval.milvus_index import MilvusIndex

pytest.importorskip("milvus_lite")

VECTORS = np.eye(8, dtype=np.float32)
IDS, CATEGORIES = [f"p{n}" for n in range(8)], ["Hats", "Shoes"] * 4


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

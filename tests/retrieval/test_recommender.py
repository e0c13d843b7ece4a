import json
import shutil

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.catalog.catalog import write_catalog
from ctl_keras.retrieval.faiss_index import FaissIndex
from ctl_keras.retrieval.recommender import format_products
from ctl_keras.servable.local_model import nearest_first

SHOES, HATS = "Apparel & Accessories|Shoes", "Apparel & Accessories|Hats"


@pytest.fixture(scope="module")
def recommender(exported, catalog):
    return ctl.Recommender(exported, catalog.folder)


def test_a_whole_look(recommender, scenes, nearest):
    found = recommender.recommend(scenes[0], ["Shoes", HATS], k=3)
    assert list(found) == ["Shoes", HATS]
    for category, path in (("Shoes", SHOES), (HATS, HATS)):
        expected = nearest(scenes[0], path)[:3]
        assert [row["id"] for row in found[category]] == [identity for _, identity in expected]
        assert [row["hybrid_distance"] for row in found[category]] == pytest.approx(
            [distance for distance, _ in expected], abs=1e-5
        )
        assert {row["category"] for row in found[category]} == {path}
        columns = {"id", "image", "category", "price", "hybrid_distance", "same_picture"}
        assert set(found[category][0]) == columns
    assert recommender.is_exact


def test_the_scene_goes_through_the_network_once(recommender, scenes, monkeypatch):
    calls = []
    real = recommender.model.loaded.signatures["embed_scene"]
    fake = {"embed_scene": lambda **inputs: calls.append(len(inputs["category"])) or real(**inputs)}
    monkeypatch.setattr(recommender.model, "loaded", type("Loaded", (), {"signatures": fake}))
    recommender.recommend(scenes[0], ["Shoes", "Hats", "Pants"], k=2)
    assert calls == [3]


def test_filters(recommender, scenes, nearest, catalog):
    price = dict(zip(catalog.ids.to_pylist(), catalog.table["price"].to_pylist(), strict=True))
    expected = [identity for _, identity in nearest(scenes[1], SHOES) if price[identity] < 50]
    found = recommender.recommend(scenes[1], ["Shoes"], k=4, where="price < 50")["Shoes"]
    assert [row["id"] for row in found] == expected[:4]
    found = recommender.recommend(
        scenes[1], ["Shoes"], k=4, where="price < 50", include=expected[1:], exclude=expected[2:3]
    )
    assert [row["id"] for row in found["Shoes"]] == [expected[1], *expected[3:6]]
    assert recommender.recommend(scenes[1], ["Shoes"], where="price < 0") == {"Shoes": []}
    text = format_products(recommender.recommend(scenes[1], ["Shoes"], k=500), 500)
    shoes = catalog.manifest["categories"][SHOES]
    assert text.endswith(f"({shoes} of 500: no more products of Shoes pass)")
    assert len(text.splitlines()) == shoes + 1


def test_an_approximate_index_is_ranked_anew(exported, catalog, scenes, nearest, tmp_path):
    pytest.importorskip("faiss")
    approximate = ctl.Recommender(exported, catalog.folder, FaissIndex("hnsw"))
    assert not approximate.is_exact
    found = approximate.recommend(scenes[2], ["Shoes"], k=5)["Shoes"]
    expected = nearest(scenes[2], SHOES)[:5]
    assert [row["id"] for row in found] == [identity for _, identity in expected]
    assert [row["hybrid_distance"] for row in found] == pytest.approx(
        [distance for distance, _ in expected], abs=1e-5
    )
    approximate.index.save(tmp_path / "index")
    loaded = ctl.Recommender(exported, catalog.folder, FaissIndex.load(tmp_path / "index"))
    assert loaded.recommend(scenes[2], ["Shoes"], k=5)["Shoes"] == found
    other = FaissIndex("flat").build(
        catalog.embeddings[::-1].copy(), catalog.ids[::-1], catalog.categories[::-1]
    )
    with pytest.raises(
        ctl.InputError,
        match="The index was not built from the catalog .*, or not from its newest state",
    ):
        ctl.Recommender(exported, catalog.folder, other)


def test_of_one_picture_the_first_that_passes(exported, catalog, scenes, tmp_path):
    """Each picture is there three times, with other prices; all have one embedding, which makes
    them no less different pictures."""
    count = len(catalog)
    ids = [f"{identity}-{copy}" for identity in catalog.ids.to_pylist() for copy in range(3)]
    table = catalog.table.take(np.repeat(np.arange(count), 3)).set_column(0, "id", [ids])
    place = table.column_names.index("price")
    table = table.set_column(place, "price", [np.arange(3 * count) % 3])

    def fill(target):
        target[:] = catalog.embeddings[0]

    write_catalog(tmp_path / "thrice", fill, table, 16, catalog.manifest["weights_hash"], {})
    thrice = ctl.Recommender(exported, tmp_path / "thrice")

    def found(k=500, **filters):
        rows = thrice.recommend(scenes[0], ["Shoes"], k, **filters)["Shoes"]
        return [row["id"] for row in rows], [row["same_picture"] for row in rows]

    categories = thrice.catalog.categories.to_pylist()
    shoes = [name for name, path in zip(ids, categories, strict=True) if path == SHOES]
    others = [list(pair) for pair in zip(shoes[1::3], shoes[2::3], strict=True)]
    assert found() == (shoes[::3], others)
    assert found(3) == (shoes[:9:3], others[:3])
    assert found(where="price != 0") == (shoes[1::3], [pair[1:] for pair in others])
    assert found(exclude=shoes[:2]) == ([shoes[2], *shoes[3::3]], [[], *others[1:]])
    assert found(include=shoes[4:6]) == ([shoes[4]], [[shoes[5]]])


@pytest.mark.parametrize("settings", [{"squared": False}, {"attention": "product"}])
def test_without_inner_product_candidates_are_ranked_by_the_model(
    settings, drawn_pairs, records, scenes, tmp_path
):
    from tests.conftest import SMALL

    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL, **settings)
    ctl.export(model, tmp_path / "looks")
    catalog = ctl.build_catalog(tmp_path / "looks", records / "products.csv", tmp_path / "catalog")
    recommender = ctl.Recommender(tmp_path / "looks", tmp_path / "catalog")
    assert not recommender.is_exact
    images = [
        row["image"] for row in catalog.products(range(len(catalog))) if row["category"] == SHOES
    ]
    local = ctl.LocalModel(tmp_path / "looks")
    scored = nearest_first(local, scenes[0], images, "Shoes")[:4]
    found = recommender.recommend(scenes[0], ["Shoes"], k=4)["Shoes"]
    assert [row["image"] for row in found] == [row["product"] for row in scored]
    assert [row["hybrid_distance"] for row in found] == pytest.approx(
        [row["hybrid_distance"] for row in scored], abs=1e-5
    )


def test_errors(recommender, exported, catalog, scenes, tmp_path):
    with pytest.raises(ctl.InputError, match="`k` must be positive. Received: 0"):
        recommender.recommend(scenes[0], ["Shoes"], k=0)
    with pytest.raises(
        ctl.InputError, match="The model does not know the category 'Lamps'. It knows: Apparel"
    ):
        recommender.recommend(scenes[0], ["Shoes", "Lamps"])
    with pytest.raises(
        ctl.InputError, match="there is no column brand. Columns: id, image, category, price"
    ):
        recommender.recommend(scenes[0], ["Shoes"], where="brand == 'Acme'")
    with pytest.raises(ctl.InputError, match="no product has the id 'x'"):
        recommender.recommend(scenes[0], ["Shoes"], exclude=["x"])
    with pytest.raises(ctl.InputError, match="Name at least one category"):
        recommender.recommend(scenes[0], [])
    with pytest.raises(ctl.InputError, match="does not exist"):
        recommender.recommend(tmp_path / "none.jpg", ["Shoes"])
    shutil.copytree(exported, tmp_path / "other")
    path = tmp_path / "other" / "1" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_hash": "0" * 64}))
    with pytest.raises(ctl.InputError, match="was embedded by another model"):
        ctl.Recommender(tmp_path / "other", catalog.folder)


def test_a_category_that_the_catalog_has_no_product_of(exported, catalog, scenes, tmp_path):
    hats = catalog.table.filter(
        catalog.mask([row["id"] for row in catalog.products(range(109)) if row["category"] == HATS])
    )

    def fill(target):
        target[:] = 0.25

    write_catalog(tmp_path / "hats", fill, hats, 16, catalog.manifest["weights_hash"], {})
    found = ctl.Recommender(exported, tmp_path / "hats").recommend(
        scenes[0], ["Shoes", "Hats"], k=1
    )
    assert (found["Shoes"], len(found["Hats"])) == ([], 1)
    assert "(0 of 1: no more products of Shoes pass)" in format_products(found, 1)

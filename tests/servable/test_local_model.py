import csv
import json
import shutil

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.servable.local_model import nearest_first

CATEGORY = "Apparel & Accessories|Shoes"


@pytest.fixture(scope="module")
def local(exported):
    return ctl.LocalModel(exported)


@pytest.fixture(scope="module")
def scene(drawn):
    return (
        drawn
        / "images"
        / f"{json.loads((drawn / 'fashion.json').read_text().splitlines()[0])['scene']}.jpg"
    )


@pytest.fixture(scope="module")
def products(records):
    with open(records / "products.csv", newline="") as file:
        return [row["image"] for row in csv.DictReader(file) if row["category"] == CATEGORY]


def test_score_is_sorted_and_agrees_with_rank(local, scene, products):
    rows = nearest_first(local, scene, products, "Shoes")
    distances = [row["hybrid_distance"] for row in rows]
    assert distances == sorted(distances)
    assert {row["product"] for row in rows} == set(products)
    query = local.embed_scene(scene, [CATEGORY])["query"][0]
    embedded = local.embed_product(products)
    assert embedded["valid"].all()
    by_name = {row["product"]: row["hybrid_distance"] for row in rows}
    exact = [by_name[product] for product in products]
    np.testing.assert_allclose(2 - embedded["embedding"] @ query, exact, atol=1e-5)
    np.testing.assert_allclose(
        local.distances(scene, "Shoes", embedded["embedding"]), exact, atol=1e-5
    )


def test_one_scene_for_several_categories(local, scene):
    names = ["Shoes", "Hats", CATEGORY]
    together = local.embed_scene(scene, names)
    for row, name in enumerate(names):
        alone = local.embed_scene(scene, [name])
        for output in ("query", "global_embedding", "attention"):
            np.testing.assert_allclose(together[output][row], alone[output][0], atol=1e-5)
    assert np.abs(together["query"][0] - together["query"][1]).max() > 1e-3


def test_a_bad_product_comes_last(local, scene, products, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    rows = nearest_first(local, scene, [tmp_path / "bad.jpg", *products[:2]], "Shoes")
    assert [row["valid"] for row in rows] == [True, True, False]


def test_newest_version_or_a_named_one(exported, tmp_path):
    shutil.copytree(exported / "1", tmp_path / "looks" / "9")
    shutil.copytree(exported / "1", tmp_path / "looks" / "10")
    manifest = json.loads((tmp_path / "looks" / "10" / "manifest.json").read_text())
    (tmp_path / "looks" / "10" / "manifest.json").write_text(
        json.dumps({**manifest, "newest": True})
    )
    assert "newest" in ctl.LocalModel(tmp_path / "looks").manifest
    assert "newest" not in ctl.LocalModel(tmp_path / "looks" / "9").manifest


def test_errors(local, scene, products, tmp_path):
    with pytest.raises(ctl.InputError, match=r"holds no export. Make one with `export --run RUN"):
        ctl.LocalModel(tmp_path)
    with pytest.raises(
        ctl.InputError, match="The model does not know the category 'Lamps'. It knows: Apparel"
    ):
        nearest_first(local, scene, products, "Lamps")
    with pytest.raises(
        ctl.InputError, match="The model does not know the category 'shoes'. Did you mean 'Shoes'?"
    ):
        nearest_first(local, scene, products, "shoes")
    with pytest.raises(ctl.InputError, match="The export has no catalog"):
        local.recommend(scene, "Shoes")
    with pytest.raises(ctl.InputError, match="does not exist"):
        nearest_first(local, scene, [tmp_path / "none.jpg"], "Shoes")
    (tmp_path / "cut.jpg").write_bytes(scene.read_bytes()[:500])
    with pytest.raises(
        ctl.InputError, match=r"The scene .*cut.jpg cannot be used: cut off or damaged."
    ):
        nearest_first(local, tmp_path / "cut.jpg", products, "Shoes")

import csv
import json
import shutil

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.retrieval.recommend import read_catalog

CATEGORY = "Apparel & Accessories|Shoes"


@pytest.fixture(scope="module")
def local(exported):
    return ctl.LocalModel(exported)


@pytest.fixture(scope="module")
def scene(drawn):
    return drawn / "images" / f"{json.loads((drawn / 'fashion.json').read_text().splitlines()[0])['scene']}.jpg"


@pytest.fixture(scope="module")
def products(records):
    with open(records / "products.csv", newline="") as file:
        return [row["image"] for row in csv.DictReader(file) if row["category"] == CATEGORY]


def test_score_is_sorted_and_agrees_with_rank(local, scene, products):
    rows = local.score(scene, products, "Shoes")
    distances = [row["hybrid_distance"] for row in rows]
    assert distances == sorted(distances)
    assert {row["product"] for row in rows} == set(products)
    ranked, valid = local.rank(scene, products, CATEGORY)
    assert valid.all()
    by_name = {row["product"]: row["hybrid_distance"] for row in rows}
    np.testing.assert_allclose(ranked, [by_name[product] for product in products], atol=1e-5)


def test_plain_norms_are_ranked_by_pairs(drawn_pairs, tmp_path, scene, products):
    from tests.conftest import SMALL

    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL, squared=False)
    ctl.export(model, tmp_path / "plain")
    local = ctl.LocalModel(tmp_path / "plain")
    ranked, _ = local.rank(scene, products[:4], "Shoes")
    scored = {row["product"]: row["hybrid_distance"] for row in local.score(scene, products[:4], "Shoes")}
    np.testing.assert_allclose(ranked, [scored[product] for product in products[:4]], atol=1e-5)


def test_a_bad_product_comes_last(local, scene, products, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    rows = local.score(scene, [tmp_path / "bad.jpg", *products[:2]], "Shoes")
    assert [row["valid"] for row in rows] == [True, True, False]


def test_newest_version_or_a_named_one(exported, tmp_path):
    shutil.copytree(exported / "1", tmp_path / "looks" / "9")
    shutil.copytree(exported / "1", tmp_path / "looks" / "10")
    manifest = json.loads((tmp_path / "looks" / "10" / "manifest.json").read_text())
    (tmp_path / "looks" / "10" / "manifest.json").write_text(json.dumps({**manifest, "newest": True}))
    assert "newest" in ctl.LocalModel(tmp_path / "looks").manifest
    assert "newest" not in ctl.LocalModel(tmp_path / "looks" / "9").manifest


def test_errors(local, scene, products, tmp_path):
    with pytest.raises(ctl.InputError, match=r"holds no export. Make one with `export --run RUN"):
        ctl.LocalModel(tmp_path)
    with pytest.raises(ctl.InputError, match="The model does not know the category 'Socks'. It knows: Apparel"):
        local.score(scene, products, "Socks")
    with pytest.raises(ctl.InputError, match="does not exist"):
        local.score(scene, [tmp_path / "none.jpg"], "Shoes")
    (tmp_path / "cut.jpg").write_bytes(scene.read_bytes()[:500])
    with pytest.raises(ctl.InputError, match=r"The scene .*cut.jpg cannot be used: cut off or damaged."):
        local.score(tmp_path / "cut.jpg", products, "Shoes")


def write_catalog(path, rows, header="id,image,category"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_recommend(exported, records, scene, local, products):
    rows = ctl.recommend(exported, records / "products.csv", scene, "Shoes", k=3)
    ranked, _ = local.rank(scene, products, "Shoes")
    assert [row["image"] for row in rows] == [products[index] for index in np.argsort(ranked, kind="stable")[:3]]
    assert [row["hybrid_distance"] for row in rows] == pytest.approx(sorted(ranked)[:3])


def test_recommend_leaves_out_what_it_cannot_read(exported, scene, products, tmp_path, capsys):
    shutil.copy(products[0], tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_text("no picture")
    rows = ["a,good.jpg,Shoes", "b,bad.jpg,Shoes", "c,gone.jpg,Shoes", "d,good.jpg,Hats", "e,good.jpg,Socks", "f,,Shoes"]
    found = ctl.recommend(exported, write_catalog(tmp_path / "c.csv", rows), scene, CATEGORY)
    assert [row["id"] for row in found] == ["a"]
    assert "3 of 4 products are left out: their pictures cannot be read." in " ".join(capsys.readouterr().err.split())


def test_recommend_errors(exported, records, scene, tmp_path):
    def recommend(catalog, category="Shoes", k=1):
        return ctl.recommend(exported, catalog, scene, category, k)

    with pytest.raises(ctl.InputError, match="`k` must be positive. Received: 0"):
        recommend(records / "products.csv", k=0)
    with pytest.raises(ctl.InputError, match=r"The catalogue .*none.csv does not exist"):
        recommend(tmp_path / "none.csv")
    with pytest.raises(ctl.InputError, match="does not know the category 'Socks'"):
        recommend(records / "products.csv", category="Socks")
    hats = write_catalog(tmp_path / "hats.csv", ["a,x.jpg,Hats"])
    with pytest.raises(ctl.InputError, match=r"The catalogue .* has no product of the category 'Shoes'"):
        recommend(hats)
    with pytest.raises(ctl.InputError, match="lacks the column image. Needed: id, image, category"):
        read_catalog(write_catalog(tmp_path / "short.csv", ["a,Shoes"], header="id,category"))
    (tmp_path / "binary.csv").write_bytes(b"id,image,category\n\xff\xfe\x00")
    with pytest.raises(ctl.InputError, match="is no CSV file in UTF-8"):
        read_catalog(tmp_path / "binary.csv")

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.web import markup
from ctl_keras.web.looks import (
    Looks,
    facts,
    first_look,
    look_distances,
    look_rows,
    swapped,
    thumbnail,
)
from ctl_keras.web.scenes import open_picture
from tests.web.conftest import STRANGE

SHOES, HATS = "Apparel & Accessories|Shoes", "Apparel & Accessories|Hats"


@pytest.fixture(scope="module")
def looks(exported, shop):
    return Looks(exported, shop)


@pytest.fixture(scope="module")
def found(looks, scenes):
    return looks.find(open_picture(scenes[0]), [SHOES, HATS], 4)


def test_what_the_page_offers(looks):
    assert looks.categories["Shoes"] == SHOES
    assert looks.columns == ["id", "category", "price"]


def test_products_are_those_of_the_recommender(found, looks, scenes):
    expected = looks.recommender.recommend(scenes[0], [SHOES, HATS], 4)
    assert list(found.products) == [SHOES, HATS]
    for category, rows in expected.items():
        assert [row["id"] for row in found.products[category]] == [row["id"] for row in rows]
        assert [row["hybrid_distance"] for row in found.products[category]] == pytest.approx(
            [row["hybrid_distance"] for row in rows], abs=2e-3
        )
    assert np.abs(found.scene[SHOES]["attention"] - found.scene[HATS]["attention"]).max() > 1e-6


def test_a_filter_and_wrong_input(looks, scenes):
    picture = open_picture(scenes[0])
    answer = looks.find(picture, [SHOES, HATS], 3, " price < 0 ")
    assert answer.products == {SHOES: [], HATS: []}
    assert first_look(answer) == {}
    assert look_distances(answer, {}) == (0, 0)
    with pytest.raises(ctl.InputError, match="Choose at least one category"):
        looks.find(picture, [], 3)
    with pytest.raises(ctl.InputError, match="there is no column brand"):
        looks.find(picture, [SHOES], 3, "brand == 'x'")
    with pytest.raises(ctl.InputError, match="`k` must be positive"):
        looks.find(picture, [SHOES], 0)


def test_regions_are_those_of_the_product(found, looks):
    for rank in (0, 2):
        row, shares = found.products[SHOES][rank], looks.regions(found, SHOES, rank)
        product = dict(
            zip(
                looks.recommender.catalog.ids.to_pylist(),
                looks.recommender.catalog.embeddings,
                strict=True,
            )
        )[row["id"]]
        whole = np.square(found.scene[SHOES]["global_embedding"] - product).sum()
        assert (whole + shares.local_distance) / 2 == pytest.approx(
            row["hybrid_distance"], abs=1e-5
        )


def test_a_look_and_another(found):
    look = first_look(found)
    assert look == {SHOES: 0, HATS: 0}
    other = swapped(look, SHOES, 2)
    assert look == {SHOES: 0, HATS: 0}
    assert look_rows(found, other) == {
        SHOES: found.products[SHOES][2],
        HATS: found.products[HATS][0],
    }
    both = found.products[SHOES][2]["hybrid_distance"] + found.products[HATS][0]["hybrid_distance"]
    assert look_distances(found, other) == pytest.approx((both, both / 2))


def test_pictures_and_columns_of_products(found, tmp_path):
    hats = {row["id"]: row for row in found.products[HATS]}
    missing = next(row for identity, row in hats.items() if identity != STRANGE)
    assert len(np.unique(np.asarray(thumbnail(missing)))) > 1  # says something
    assert thumbnail(missing).size == (320, 320)
    assert thumbnail(found.products[SHOES][0]).size != (320, 320)
    (tmp_path / "text.jpg").write_text("no picture")
    assert thumbnail({"image": tmp_path / "text.jpg"}) == thumbnail(missing)
    row = {"id": 3, "image": "x", "category": "c", "hybrid_distance": 1.0, "brand": None}
    assert facts({**row, "price": 4, "same_picture": []}) == {"id": "3", "price": "4"}
    twins = facts({**row, "same_picture": ["5", "7"]})
    assert twins == {"id": "3", "also with this picture": "5, 7"}


def test_text_from_outside_is_escaped():
    tiles = markup.product_tiles(
        [{"id": STRANGE, "hybrid_distance": 1.0}], [Image.new("RGB", (9, 9))], "<Hats>", 0
    )
    assert "<Hats>" not in tiles
    assert "&lt;b&gt;{{id" in tiles
    assert markup.message("a < b") == '<p class="ctl-message" role="alert">a &lt; b</p>'
    assert markup.message("") == ""


@pytest.mark.parametrize(
    ("distance", "words"), [("local", "to the scene"), ("global", "the regions do not count")]
)
def test_other_distances_are_explained(found, looks, distance, words):
    settings = {**looks.settings, "distance": distance}
    row, shares = found.products[SHOES][0], looks.regions(found, SHOES, 0)
    said = markup.product_details(found.seen, row, thumbnail(row), shares, settings)
    assert words in said
    assert ("<table>" in said) == (distance == "local")


def test_attention_by_product_is_shown_with_the_product(found, looks):
    settings = {**looks.settings, "attention": "product"}
    row, shares = found.products[SHOES][0], looks.regions(found, SHOES, 0)
    assert "Attention for " in markup.product_details(
        found.seen, row, thumbnail(row), shares, settings
    )
    assert "Attention for " not in markup.product_details(
        found.seen, row, thumbnail(row), shares, looks.settings
    )
    assert "depends on the product" in markup.attention_figures(found.seen, {}, {}, "product")

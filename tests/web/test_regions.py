import math

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.pictures.regions import attention_overlay, place, pull_overlay, region_shares
from tests.conftest import SMALL


def by_hand(attention, regions, keys, product, squared, kind, temperature):
    """Distances, attention and contributions by loops over plain numbers."""

    def square(one, other):
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))

    distances = [
        square(region, product) if squared else math.sqrt(square(region, product))
        for region in regions
    ]
    if kind == "product":
        weights = [math.exp(-square(key, product) / temperature) for key in keys]
        attention = [weight / sum(weights) for weight in weights]
    contributions = [
        weight * distance for weight, distance in zip(attention, distances, strict=True)
    ]
    pulls = [
        weight * (sum(contributions) - distance)
        for weight, distance in zip(attention, distances, strict=True)
    ]
    return attention, distances, contributions, pulls


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("kind", ["category", "product", "uniform"])
def test_shares_are_those_of_plain_loops(squared, kind):
    random = np.random.default_rng(3)
    vectors = random.normal(size=(13, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    regions, keys, product = vectors[:6], vectors[6:12], vectors[12]
    attention = random.dirichlet(np.ones(6))
    settings = {"squared": squared, "attention": kind, "temperature": 0.3}
    scene = {
        "attention": attention.reshape(2, 3),
        "region_embeddings": regions,
        "attention_embeddings": keys,
    }
    shares = region_shares(scene, product, settings)
    expected = by_hand(
        attention.tolist(), regions.tolist(), keys.tolist(), product.tolist(), squared, kind, 0.3
    )
    for values, wanted in zip(shares, expected, strict=True):
        assert values.shape == (2, 3)
        np.testing.assert_allclose(values.reshape(-1), wanted, atol=1e-12)
    assert shares.attention.sum() == pytest.approx(1)
    assert shares.pulls.sum() == pytest.approx(0, abs=1e-12)
    assert shares.local_distance == pytest.approx(sum(expected[2]))


@pytest.mark.parametrize(
    "settings", [{}, {"squared": False, "attention": "product", "temperature": 0.5}]
)
def test_they_add_up_to_the_exports_local_distance(
    settings, exported, drawn_pairs, scenes, tmp_path
):
    if settings:
        exported = tmp_path / "looks"
        ctl.export(ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL, **settings), exported)
    local = ctl.LocalModel(exported)
    scored = local.score(scenes[0], scenes[1], "Shoes")
    described = local.describe_scene(scenes[0], ["Hats", "Shoes"])
    shoes = {name: values[1] for name, values in described.items()}
    product = local.embed_product(scenes[1])["embedding"][0]
    shares = region_shares(shoes, product, local.manifest["settings"])
    assert shares.local_distance == pytest.approx(scored["local_distance"][0], abs=1e-5)


def test_a_scene_is_described_as_it_is_embedded(exported, scenes):
    local = ctl.LocalModel(exported)
    described = local.describe_scene(scenes[0], ["Hats", "Shoes"])
    for name, values in local.embed_scene(scenes[0], ["Hats", "Shoes"]).items():
        np.testing.assert_allclose(described[name], values, atol=1e-6)
    regions = math.prod(described["attention"].shape[1:])
    assert (
        described["region_embeddings"].shape
        == described["attention_embeddings"].shape
        == (2, regions, 16)
    )
    with pytest.raises(ctl.InputError, match="does not know the category 'Lamps'"):
        local.describe_scene(scenes[0], ["Lamps"])


@pytest.mark.parametrize(
    ("cell", "grid", "words"),
    [
        ((0, 0), (7, 7), "upper left"),
        ((3, 3), (7, 7), "centre"),
        ((6, 3), (7, 7), "lower middle"),
        ((1, 2), (3, 3), "middle right"),
        ((0, 0), (1, 1), "centre"),
        ((13, 0), (14, 14), "lower left"),
    ],
)
def test_places(cell, grid, words):
    assert place(cell, grid) == words


def luminance(picture):
    return np.asarray(picture.convert("L"), float)


def test_attention_is_lightest_where_it_is_most():
    picture = Image.new("RGB", (60, 40), "#808080")
    shown = luminance(attention_overlay(picture, np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.5]])))
    assert shown.shape == (40, 60)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    assert row >= 20
    assert column >= 40
    even = np.asarray(attention_overlay(picture, np.full((2, 3), 1 / 6)))
    assert np.ptp(even, axis=(0, 1)).max() == 0


def test_pulls_are_blue_or_orange():
    picture = Image.new("RGB", (60, 40), "#80c080")
    shown = np.asarray(pull_overlay(picture, np.array([[0.2, 0.0, -0.1]])), int)
    red, blue = shown[20, :, 0], shown[20, :, 2]
    assert blue[2] > red[2]
    assert abs(blue[30] - red[30]) < 25
    assert red[57] > blue[57]
    assert (blue[2] - red[2]) > (red[57] - blue[57]) / 2  # the stronger the denser
    np.testing.assert_array_equal(
        np.asarray(pull_overlay(picture, np.zeros((1, 3)))),
        np.asarray(picture.convert("L").convert("RGB")),
    )

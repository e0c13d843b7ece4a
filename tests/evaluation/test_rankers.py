"""The rankers of a model's parts against plain loops over what the towers give."""

import dataclasses

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.batches import image_batches
from ctl_keras.evaluation.rankers import all_rankers, model_rankers
from tests.conftest import SMALL
from tests.counts import some

PARTS = {"global_only", "local_only", "uniform_attention"}
SETTINGS = [
    ({}, PARTS),
    ({"squared": False}, PARTS),
    ({"attention": "product"}, PARTS),
    ({"attention": "uniform"}, {"global_only", "local_only"}),
    ({"distance": "local"}, {"uniform_attention"}),
    ({"distance": "local", "attention": "product"}, {"uniform_attention"}),
    ({"distance": "global"}, set()),
    ({"distance": "global", "squared": False}, set()),
]


def by_loops(model, pairs, row, candidates):
    """Distances of one pair's scene to the candidates, by name."""
    config = model.config
    scene = next(
        iter(image_batches(pairs.images, pairs.scene[[row]], pairs.window[[row]], 1, 32))
    ).numpy()
    inputs = {"scene": scene, "category": np.array([pairs.category[row]], "int32")}
    parts = {
        name: np.asarray(value, np.float64)[0] for name, value in model.scene_tower(inputs).items()
    }
    pictures = next(iter(image_batches(pairs.images, candidates, None, 1000, 32)))
    result = {name: [] for name in ("model", *PARTS)}
    for product in np.asarray(model.product_tower(pictures), np.float64):

        def between(first, second=product):
            squared = np.sum((first - second) ** 2)
            return squared if config.squared else np.sqrt(squared)

        regions = [between(region) for region in parts["region_embeddings"]]
        attention = parts["attention"].ravel()
        if config.attention == "product":
            logits = np.exp(
                [-np.sum((region - product) ** 2) for region in parts["attention_embeddings"]]
            )
            attention = logits / logits.sum()
        whole, local = between(parts["global_embedding"]), np.dot(attention, regions)
        even = np.mean(regions)
        result["model"].append(
            {"hybrid": (whole + local) / 2, "global": whole, "local": local}[config.distance]
        )
        result["global_only"].append(whole)
        result["local_only"].append(local)
        result["uniform_attention"].append(
            (whole + even) / 2 if config.distance == "hybrid" else even
        )
    return result


@pytest.mark.parametrize(
    ("settings", "names"), some(SETTINGS), ids=[str(given) for given, _ in some(SETTINGS)]
)
def test_parts_of_the_model(settings, names, drawn_pairs):
    pairs = drawn_pairs.take(np.arange(20))
    model = ctl.CompleteTheLook(pairs.categories, 32, **SMALL, **settings)
    rankers = model_rankers(model, pairs, 16)
    assert set(rankers) == {"model", *names}
    candidates = pairs.category_products[1]
    rows = np.flatnonzero(pairs.category == 1)[:2]
    for number, row in enumerate(rows):
        expected = by_loops(model, pairs, row, candidates)
        for name, ranker in rankers.items():
            np.testing.assert_allclose(
                ranker(rows, candidates)[number], expected[name], atol=2e-5, err_msg=name
            )


@pytest.mark.parametrize("settings", some([{}, {"squared": False}]))
def test_each_picture_is_embedded_once_for_all_of_them(settings, drawn_pairs, monkeypatch):
    pairs = drawn_pairs.take(np.arange(20))
    model = ctl.CompleteTheLook(pairs.categories, 32, **SMALL, **settings)
    loaded = []
    load = pairs.images.load
    monkeypatch.setattr(pairs.images, "load", lambda row: loaded.append(row) or load(row))
    model_rankers(model, pairs, 16)
    assert sorted(loaded) == sorted([*pairs.scene, *np.unique(pairs.product)])


def test_ranks_candidates_that_no_pair_has(drawn_pairs):
    """Fixed candidates from beyond the table are embedded too."""
    few = drawn_pairs.take(np.arange(10))
    fixed = dataclasses.replace(few, candidates=drawn_pairs.category_products)
    model = ctl.CompleteTheLook(few.categories, 32, **SMALL)
    candidates = drawn_pairs.category_products[1]
    rows = np.flatnonzero(few.category == 1)[:1]
    own = np.isin(candidates, few.category_products[1])
    ofew, ofixed = (all_rankers(model, pairs, 16, model.backbone) for pairs in (few, fixed))
    for name, ranker in ofixed.items():
        distances = ranker(rows, candidates)
        assert distances.shape == (1, len(candidates))
        np.testing.assert_allclose(distances[:, own], ofew[name](rows, candidates[own]), atol=1e-5)
    assert len(np.unique(ofixed["model"](rows, candidates))) > own.sum()

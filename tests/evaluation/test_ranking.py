import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.evaluation.evaluate import with_model_categories
from ctl_keras.evaluation.ranking import METRICS, SceneBootstrap, rank_metrics, summarise
from tests.data.test_triplets import pair_lists, table


def by_loops(pairs, distance):
    """Each definition in words: all comparisons with a negative, one after the other."""
    known = set(zip(pairs.scene.tolist(), pairs.product.tolist(), strict=True))
    result = []
    for scene, product, category in zip(pairs.scene, pairs.product, pairs.category, strict=True):
        candidates = {
            int(p) for p, c in zip(pairs.product, pairs.category, strict=True) if c == category
        }
        negatives = [p for p in candidates if (scene, p) not in known]
        own = distance[scene, product]
        wins = sum(
            1.0 if own < distance[scene, p] else 0.5 if own == distance[scene, p] else 0.0
            for p in negatives
        )
        rank = 1 + len(negatives) - wins
        result.append(
            [wins / max(len(negatives), 1), float(rank <= 1), float(rank <= 10), 1 / rank]
        )
    return np.array(result)


@given(pair_lists, st.integers(0, 9))
def test_metrics_equal_plain_loops(rows, seed):
    pairs = table(rows)
    usable = pairs.has_negative()
    distance = np.random.default_rng(seed).integers(6, size=(100, 100)) / 4  # with ties

    def ranker(chosen, candidates):
        return distance[pairs.scene[chosen][:, None], candidates[None]]

    values = rank_metrics(pairs, ranker)
    np.testing.assert_allclose(values[usable], by_loops(pairs, distance)[usable], atol=1e-12)
    assert np.isnan(values[~usable]).all()


def test_equal_distances_are_chance():
    pairs = table([(scene, 3 * product) for scene, product in enumerate(range(8))])
    values = rank_metrics(pairs, lambda rows, candidates: np.zeros((len(rows), len(candidates))))
    np.testing.assert_allclose(values[:, 0], 0.5)


def test_bootstrap_resamples_scenes_not_pairs():
    """Two scenes of many equal pairs: by scenes the interval is all of [0, 1], by pairs it would be
    narrow."""
    pairs = table([(scene, product) for scene in (0, 1) for product in range(0, 60, 3)])
    values = np.repeat(np.where(pairs.scene == 0, 0.0, 1.0)[:, None], len(METRICS), axis=1)
    figures = SceneBootstrap(pairs.scene).figures(values)["binary_accuracy"]
    assert figures == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 40}


def test_interval_has_the_size_that_theory_gives():
    random = np.random.default_rng(0)
    pairs = table([(0, 0)]).take(np.zeros(400, int))
    pairs.scene[:] = np.arange(400) % 100
    values = np.repeat(random.normal(size=100)[pairs.scene][:, None], len(METRICS), axis=1)
    figures = SceneBootstrap(pairs.scene, resamples=4000).figures(values)["mrr"]
    half = 1.96 * values[:100, 0].std() / np.sqrt(100)
    assert figures["high"] - figures["low"] == pytest.approx(2 * half, rel=0.06)


def test_by_category_covers_all_pairs():
    pairs = table([(scene, product) for scene, product in enumerate(range(12))])
    values = np.random.default_rng(0).random((12, len(METRICS)))
    result = summarise(pairs, values, SceneBootstrap(pairs.scene))
    assert sum(part["mrr"]["n"] for part in result["by_category"].values()) == 12
    assert result["by_category"]["c1"]["mrr"]["value"] == pytest.approx(
        values[pairs.category == 1, 3].mean()
    )


def test_categories_are_matched_by_name():
    pairs = table([(0, 0), (1, 1), (2, 2)])
    model = type("Model", (), {"categories": ("c2", "other", "c0")})()
    kept, left_out = with_model_categories(model, pairs)
    assert kept.category.tolist() == [2, 0]
    assert kept.scene.tolist() == [0, 2]
    assert left_out == {"category unknown to the model": 1}


def test_ranks_by_the_models_own_distance(drawn_pairs):
    """`evaluate` embeds each picture once; the model, asked for one triplet at a time, says the
    same."""
    from ctl_keras.data.batches import image_batches
    from ctl_keras.evaluation.rankers import model_rankers
    from tests.conftest import SMALL

    model = ctl.CompleteTheLook(
        drawn_pairs.categories, 32, **SMALL, squared=False, attention="product"
    )
    pairs = drawn_pairs.take(np.arange(40))
    rows = np.flatnonzero(pairs.category == 1)[:3]
    candidates = pairs.category_products[1]
    distances = model_rankers(model, pairs, 16)["model"](rows, candidates)
    assert distances.shape == (3, len(candidates))
    pictures = next(iter(image_batches(pairs.images, candidates, None, 100, 32))).numpy()
    for number, row in enumerate(rows):
        scene = next(
            iter(image_batches(pairs.images, pairs.scene[[row]], pairs.window[[row]], 1, 32))
        )
        repeated = np.repeat(scene, len(candidates), axis=0)
        category = np.full(len(candidates), 1, "int32")
        inputs = {
            "scene": repeated,
            "positive": pictures,
            "negative": pictures,
            "category": category,
        }
        np.testing.assert_allclose(distances[number], np.asarray(model(inputs))[:, 0], atol=1e-5)

"""The trainers share the model's layers: what they give is what the model itself gives, pair by
pair."""

import keras
import numpy as np
import pytest

import ctl_keras as ctl
from tests.conftest import SMALL

VARIANTS = [
    {},
    {"distance": "local"},
    {"squared": False},
    {"attention": "product"},
    {"attention": "uniform", "distance": "global"},
    {"region_source": "image", "regions": [2, 2]},
]


@pytest.fixture(params=VARIANTS, ids=str)
def model(request, drawn_pairs):
    keras.utils.set_random_seed(1)
    return ctl.CompleteTheLook(drawn_pairs.categories, 32, **{**SMALL, **request.param})


def test_in_batch_distances_are_the_models_own(model, drawn_pairs):
    inputs, _ = next(iter(ctl.pair_batches(drawn_pairs, 16, 32, training=False, group=4)))
    y_pred = np.asarray(model.in_batch_trainer(memory=4)(inputs))
    assert y_pred.shape == (16, 17)  # in inference the memory is silent
    scene = model.scene_tower({"scene": inputs["scene"], "category": inputs["category"]})
    products = np.asarray(model.product_tower(inputs["product"]))
    distances = np.asarray(
        model.score(scene, np.repeat(products[None], 16, axis=0))["hybrid_distance"]
    )
    np.testing.assert_allclose(y_pred[:, 0], np.diag(distances), atol=1e-5)
    ids, category = inputs["product_id"].numpy(), inputs["category"].numpy()
    scene_of = {int(p): set() for p in ids}
    for s, p in zip(drawn_pairs.scene.tolist(), drawn_pairs.product.tolist(), strict=True):
        scene_of.setdefault(p, set()).add(s)
    rows = [int(np.flatnonzero(drawn_pairs.product == p)[0]) for p in ids]
    for row in range(16):
        for column in range(16):
            is_negative = (
                category[row] == category[column]
                and drawn_pairs.scene[rows[row]] not in scene_of[int(ids[column])]
            )
            found = y_pred[row, 1 + column]
            assert (
                found == pytest.approx(distances[row, column], abs=1e-5)
                if is_negative
                else np.isinf(found)
            )
    assert np.isfinite(y_pred[:, 1:]).any(axis=1).all()


def test_features_give_what_pictures_give(model, drawn_pairs):
    scene_tower, product_tower = model.feature_towers()
    inputs, _ = next(iter(ctl.triplets(drawn_pairs, 8, 32, training=False)))
    features = {
        **scene_tower(inputs["scene"]),
        **{role: product_tower(inputs[role])["product"] for role in ("positive", "negative")},
        "category": inputs["category"],
    }
    np.testing.assert_allclose(model.feature_trainer()(features), model(inputs), atol=1e-5)


def test_training_a_trainer_trains_the_model(drawn_pairs):
    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL)
    trainer = model.in_batch_trainer()
    trainer.compile("adam", loss=ctl.TripletLoss(miner="semi_hard"), jit_compile=False)
    before = [weight.copy() for weight in model.get_weights()]
    trainer.fit(ctl.pair_batches(drawn_pairs, 32, 32, training=True), epochs=1, verbose=0)
    changed = [
        bool((old != new).any()) for old, new in zip(before, model.get_weights(), strict=True)
    ]
    assert sum(changed) >= len(trainer.trainable_variables)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert old.shape == new.shape

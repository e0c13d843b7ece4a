import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import ctl_keras as ctl
from tests.conftest import SMALL

SIZE, CATEGORIES = 32, ("A|Hats", "A|Shoes", "Bags")
VARIANTS = {
    "category": {},
    "product": {"attention": "product"},
    "uniform": {"attention": "uniform"},
    "global": {"distance": "global"},
    "local": {"distance": "local"},
    "plain": {"squared": False},
    "crops": {"region_source": "image", "regions": (2, 2)},
    "grid": {"regions": (1, 2)},
    "trained": {"train_backbone": True},
}


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    images = {
        role: random.uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
        for role in ("scene", "positive", "negative")
    }
    return {**images, "category": np.array([0, 2, 1, 0], "int32")}


def build(**settings):
    return ctl.CompleteTheLook(CATEGORIES, SIZE, **{**SMALL, **settings})


def fit(model, batch, margin=0.2, **options):
    """By itself `fit` would build the optimizer while it traces the step, and trace the step
    again."""
    model.compile("adam", loss=ctl.TripletLoss(margin), **options)
    model.optimizer.build(model.trainable_variables)
    return model.fit(batch, np.zeros((4, 2)), epochs=2, verbose=0).history


@pytest.mark.parametrize("variant", VARIANTS)
def test_fits_saves_and_agrees_with_its_towers(variant, batch, tmp_path):
    model = build(**VARIANTS[variant])
    fit(model, batch, metrics=[ctl.TripletAccuracy()])
    distances = np.asarray(model(batch))
    assert distances.shape == (4, 2)

    scene = model.scene_tower({"scene": batch["scene"], "category": batch["category"]})
    products = np.stack(
        [model.product_tower(batch[role]) for role in ("positive", "negative")], axis=1
    )
    np.testing.assert_allclose(
        model.score(scene, products)["hybrid_distance"], distances, atol=1e-5
    )
    rows, columns = scene["attention"].shape[1:]
    assert scene["region_embeddings"].shape == (4, rows * columns, 16)
    np.testing.assert_allclose(np.sum(scene["attention"], axis=(1, 2)), 1, atol=1e-5)
    by_product = 2 - np.einsum("bd,bpd->bp", scene["query"], products)
    agrees = np.abs(by_product - distances).max() < 1e-5
    assert agrees == model.config.has_inner_product

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(batch), distances, atol=1e-6)
    assert again.get_config() == model.get_config()
    assert again.categories == CATEGORIES


def test_distance_equals_plain_numpy_on_the_models_own_features(batch):
    """The whole wiring, once more by hand: taps, regions, three projections, attention,
    distance."""
    model = build()
    layers = {layer.name: layer for layer in model.layers}
    pooled, local = model.backbone(batch["scene"])
    regions = np.reshape(local, (4, -1, local.shape[-1]))
    f_s = np.asarray(layers["style"](pooled))
    f_i, f_hat = (np.asarray(layers[name](regions)) for name in ("region_style", "attention_style"))
    vectors = np.asarray(layers["attention"].get_weights()[0])
    for column, role in enumerate(("positive", "negative")):
        f_p = np.asarray(layers["style"](model.backbone(batch[role])[0]))
        for row in range(4):
            e_c = vectors[batch["category"][row]]
            e_c = e_c / np.linalg.norm(e_c)
            logits = -np.sum((f_hat[row] - e_c) ** 2, axis=-1)
            attention = np.exp(logits) / np.exp(logits).sum()
            d_global = np.sum((f_s[row] - f_p[row]) ** 2)
            d_local = np.sum(attention * np.sum((f_i[row] - f_p[row]) ** 2, axis=-1))
            assert float(model(batch)[row, column]) == pytest.approx(
                (d_global + d_local) / 2, abs=1e-5
            )


def test_a_frozen_backbone_does_not_move_and_the_heads_do(batch):
    model = build()
    before = [weight.copy() for weight in model.backbone.get_weights()]
    heads = [np.array(weight) for weight in model.trainable_weights]
    fit(model, batch, margin=2.0)
    for old, new in zip(before, model.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    moved = [
        (old != np.array(new)).any()
        for old, new in zip(heads, model.trainable_weights, strict=True)
    ]
    assert all(moved), "a head, or the category vectors, gets no gradient"


def test_a_trained_backbone_moves(batch):
    model = build(train_backbone=True)
    model.compile("sgd", loss=ctl.TripletLoss(2.0))
    before = [weight.copy() for weight in model.backbone.get_weights()]
    model.fit(batch, np.zeros((4, 2)), epochs=1, verbose=0)
    assert any(
        (old != new).any() for old, new in zip(before, model.backbone.get_weights(), strict=True)
    )


def test_the_global_model_trains_no_local_part():
    names = {layer.name: layer.trainable for layer in build(distance="global").layers}
    assert not names["region_style"]
    assert not names["attention"]
    assert names["style"]


def test_one_backbone_call_for_all_images():
    calls = [layer.name for layer in build().layers if isinstance(layer, ctl.Backbone)]
    assert calls == ["backbone"]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, batch):
    keras.utils.set_random_seed(1)
    full = build()
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build()
        model.set_weights(full.get_weights())
        outputs = np.asarray(model(batch))
        assert outputs.dtype == np.float32
        np.testing.assert_allclose(outputs, full(batch), atol=0.15)
        assert np.isfinite(fit(model, batch)["loss"]).all()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_more_regions_than_the_map_has():
    with pytest.raises(
        ctl.InputError,
        match=r"`model.regions` asks for \(9, 9\) regions of a local map of \(8, 8\)",
    ):
        build(regions=(9, 9))


def test_errors():
    with pytest.raises(ctl.InputError, match="`categories` must be one or more different names"):
        ctl.CompleteTheLook([])
    with pytest.raises(ctl.InputError, match="`categories` must be one or more different names"):
        ctl.CompleteTheLook(["a", "a"])
    with pytest.raises(
        ctl.InputError,
        match=r"There is no setting `model.atention`. Did you mean `model.attention`\?",
    ):
        build(atention="product")
    with pytest.raises(
        ctl.InputError,
        match="`model.attention` must be one of category, product, uniform. Received: 'x'",
    ):
        build(attention="x")


LOAD = """
import sys
import ctl_keras, keras
model = keras.models.load_model(sys.argv[1])
print(type(model).__name__, type(model.loss).__name__)
"""


@pytest.mark.slow
def test_a_fresh_process_loads_a_saved_model_by_importing_the_package(tmp_path):
    """With every loss, metric and layer that Keras has to find by its name."""
    model = ctl.CompleteTheLook(["a", "b"], 32, **SMALL)
    metrics = [ctl.TripletAccuracy(), ctl.ActiveTriplets(), ctl.PositiveDistance()]
    metrics += [ctl.NegativeDistance(), ctl.DistanceSpread(), ctl.HitAtK(2)]
    metrics += [ctl.MeanReciprocalRank()]
    model.compile("adam", loss=ctl.TripletLoss(), metrics=metrics)
    trainer = model.in_batch_trainer(memory=4, gather=True)
    trainer.compile("adam", loss=ctl.TripletLoss())
    for name, saved in (("model", model), ("trainer", trainer)):
        saved.save(tmp_path / f"{name}.keras")
    for name, own in (("model", "CompleteTheLook"), ("trainer", "Functional")):
        command = [sys.executable, "-c", LOAD, tmp_path / f"{name}.keras"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.stdout.split() == [own, "TripletLoss"], process.stderr


def test_all_registered_classes_are_known_as_soon_as_keras_is():
    known = keras.saving.get_custom_objects()
    package = Path(ctl.__file__).parent
    for path in package.rglob("*.py"):
        registered = r"@keras.saving.register_keras_serializable\(.*\)\nclass (\w+)"
        for name in re.findall(registered, path.read_text(encoding="utf-8")):
            assert f"ctl_keras>{name}" in known

import dataclasses
import itertools
import shutil

import keras
import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.batches import image_batches
from ctl_keras.training import feature_cache
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def model(drawn_pairs):
    keras.utils.set_random_seed(0)
    return ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL)


@pytest.fixture(scope="module")
def folder(model, drawn_pairs, tmp_path_factory):
    return ctl.cache_features(
        model, drawn_pairs, "hash", tmp_path_factory.mktemp("features"), views=3
    )


def test_the_model_gives_the_same_from_cached_features(model, drawn_pairs, tmp_path):
    plain = ctl.CachedFeatures(
        ctl.cache_features(model, drawn_pairs, "hash", tmp_path), drawn_pairs
    )
    from_features = model.feature_trainer().predict(
        ctl.triplets(drawn_pairs, 32, training=False, source=plain), verbose=0
    )
    from_pictures = model.predict(ctl.triplets(drawn_pairs, 32, 32, training=False), verbose=0)
    np.testing.assert_allclose(from_features, from_pictures, atol=2e-3)  # float16


def test_views_are_the_picture_its_mirror_image_and_crops(model, drawn_pairs, folder):
    views = [np.load(folder / f"regions-v{view}-00000.npy")[:4] for view in range(3)]
    images = next(
        iter(
            image_batches(drawn_pairs.images, drawn_pairs.scene[:4], drawn_pairs.window[:4], 4, 32)
        )
    )
    tower, _ = model.feature_towers()
    for view, pictures in ((0, images), (1, images[:, :, ::-1])):
        np.testing.assert_allclose(views[view], tower(pictures)["regions"], rtol=2e-3, atol=2e-3)
    assert np.abs(views[2] - views[0]).max() > 0.05
    assert np.abs(views[2] - views[1]).max() > 0.05


def test_training_draws_all_views_of_each_picture(drawn_pairs, folder):
    source = ctl.CachedFeatures(folder, drawn_pairs)
    seen = [set(), set(), set()]
    views = [np.load(folder / f"product-v{view}-00000.npy") for view in range(3)]
    dataset = ctl.triplets(drawn_pairs, 150, training=True, source=source)
    for _ in range(2):
        inputs, _ = next(iter(dataset))
        for role in ("positive", "negative"):
            for vector in inputs[role].numpy().astype("float16"):
                for view, known in enumerate(views):
                    seen[view] |= set(np.flatnonzero((known == vector).all(axis=1)).tolist())
    assert min(map(len, seen)) > len(views[0]) / 2


def test_a_killed_cache_goes_on(model, drawn_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD", 20)
    few = drawn_pairs.take(np.arange(50))
    whole = ctl.cache_features(model, few, "hash", tmp_path / "whole", views=2)
    saved = feature_cache._save
    calls = []

    def dies(path, values):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(path)
        saved(path, values)

    monkeypatch.setattr(feature_cache, "_save", dies)
    with pytest.raises(KeyboardInterrupt):
        ctl.cache_features(model, few, "hash", tmp_path / "killed", views=2)
    monkeypatch.setattr(feature_cache, "_save", saved)
    (killed,) = (tmp_path / "killed").iterdir()
    with pytest.raises(
        ctl.InputError, match="holds no complete feature cache. Make it with `cache_features`"
    ):
        ctl.CachedFeatures(killed, few)
    kept = {path: path.stat().st_mtime_ns for path in killed.glob("*.npy")}
    assert ctl.cache_features(model, few, "hash", tmp_path / "killed", views=2) == killed
    assert sum(path.stat().st_mtime_ns == time for path, time in kept.items()) >= 4
    assert sorted(path.name for path in killed.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )
    for path in whole.glob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(killed / path.name))


def test_what_changes_the_features_changes_the_folder(model, drawn_pairs, tmp_path):
    """Each input is changed, and where other numbers come out, another folder must hold them."""
    categories, few = drawn_pairs.categories, drawn_pairs.take(np.arange(24))
    moved = dataclasses.replace(few, window=few.window * np.float32(0.5))
    other_scenes = dataclasses.replace(few, scene=few.scene[::-1].copy())

    def made(pairs=few, pictures="hash", views=1, seed=0, other=model, **settings):
        if settings:
            other = ctl.CompleteTheLook(categories, **{"image_size": 32, **SMALL, **settings})
        folder = ctl.cache_features(other, pairs, pictures, tmp_path, views, seed)
        names = sorted(path.name for path in folder.glob("*.npy"))
        return folder, {name: np.load(folder / name) for name in names}

    def same(one, other):
        return one.keys() == other.keys() and all(map(np.array_equal, one.values(), other.values()))

    results = [
        made(),
        made(other=model.copy("mixed_bfloat16")),
        made(weights="none"),  # other random weights
        made(regions=[2, 2]),
        made(region_source="image", regions=[2, 2]),
        made(image_size=40),
        made(global_tap="conv2_block1_1_relu"),
        made(moved),
        made(other_scenes),
        made(few.take(np.arange(20))),
        made(views=2),
        made(views=3),
        made(views=3, seed=1),
    ]
    for (folder, values), (other, others) in itertools.combinations(results, 2):
        assert not same(values, others), "the change changes nothing: take another"
        assert folder != other
    assert made()[0] == results[0][0]
    assert made(views=2, seed=1)[0] == results[10][0]  # nothing random in a mirror image
    assert made(pictures="other")[0] not in [folder for folder, _ in results]
    # heads share the cache
    heads = ctl.CompleteTheLook(categories, 32, **{**SMALL, "attention": "uniform", "dim": 8})
    heads.backbone.set_weights(model.backbone.get_weights())
    assert ctl.cache_features(heads, few, "hash", tmp_path) == results[0][0]


def test_errors(model, drawn_pairs, folder, tmp_path):
    with pytest.raises(ctl.InputError, match="`views` must be positive. Received: 0"):
        ctl.cache_features(model, drawn_pairs, "hash", tmp_path, views=0)
    with pytest.raises(ctl.InputError, match="are of 150 pictures; the table has 20"):
        ctl.CachedFeatures(folder, drawn_pairs.take(np.arange(20)))
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    (damaged / "scene-v1-00000.npy").write_bytes(b"half")
    with pytest.raises(
        ctl.InputError, match=r"The feature file .*scene-v1-00000.npy is missing or damaged. Remove"
    ):
        ctl.CachedFeatures(damaged, drawn_pairs)
    with pytest.raises(
        ctl.InputError, match=r"The backbone's features reach 70000, which float16 cannot hold"
    ):
        feature_cache._save(tmp_path / "x.npy", np.float32([1, -70000]))
